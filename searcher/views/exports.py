"""A reproduced table for other programs: CSV, LaTeX (booktabs) and JSON."""

from __future__ import annotations

import csv
import io
import json

from searcher.reproduction_report import COLUMNS, Report
from searcher.views.latex import PACKAGES, escaped, tabular
from searcher.views.reproduction import cells, columns, pair_cells, pair_columns, pair_label


def as_csv(report: Report) -> str:
    """One line a model and one a comparison (column `kind`), units in the header, empty where there is no figure."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(report.to_plain())
    return text.getvalue()


def as_json(report: Report) -> str:
    """The same rows, with the setting, the footnotes and the accuracy of every seed."""
    s = report.setting
    data = {
        "reproduction": report.reproduction.name,
        "setting": {
            "model": s.model_name,
            "image_size": s.base.image_size,
            "classes": s.base.num_classes,
            "data": s.data.name,
            "recipe": s.recipe_name,
            "epochs": [s.recipe.fp.epochs, s.recipe.qat.epochs],
            "seeds": list(s.seeds),
        },
        "split": report.split,
        "rows": report.to_plain(),
        "accuracies": {r.row.key: {"val": r.val, "test": r.test} for r in report.results},
        "failures": list(report.failures),
        "notes": list(report.notes),
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def as_latex(report: Report) -> str:
    """Two tabulars with booktabs rules and the footnotes below; needs the package booktabs."""
    models = [[r.row.label, *cells(report, r)] for r in report.results]
    parts = [tabular(["model", *columns(report)], models)]
    if report.comparisons:
        pairs = [[pair_label(report, *pair), *pair_cells(report, *pair)] for pair in report.comparisons]
        parts.append(tabular(["difference, points", *pair_columns(report)], pairs))
    parts.append("\n".join(rf"\par\footnotesize {escaped(note)}" for note in (*report.failures, *report.notes)))
    return PACKAGES + "\n\\medskip\n\n".join(parts) + "\n"
