"""A reproduced table for other programs: CSV, LaTeX (booktabs) and JSON."""

from __future__ import annotations

import csv
import io
import json

from searcher.reproduction_report import COLUMNS, Report
from searcher.views.reproduction import cells, columns, pair_cells, pair_columns, pair_label

_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


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
    parts = [_tabular(["model", *columns(report)], models)]
    if report.comparisons:
        pairs = [[pair_label(report, *pair), *pair_cells(report, *pair)] for pair in report.comparisons]
        parts.append(_tabular(["difference, points", *pair_columns(report)], pairs))
    parts.append("\n".join(rf"\par\footnotesize {escaped(note)}" for note in (*report.failures, *report.notes)))
    return "% needs \\usepackage{booktabs}\n" + "\n\\medskip\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """`text` with everything that LaTeX would read as a command made printable."""
    return "".join(_LATEX.get(character, character) for character in text)


def _tabular(head: list[str], rows: list[list[str]]) -> str:
    lines = [" & ".join(map(escaped, row)) + r" \\" for row in (head, *rows)]
    begin, end = rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\end{tabular}"
    return "\n".join([begin, r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", end, ""])
