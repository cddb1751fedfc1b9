"""Figures as files: which kinds there are, what may be overwritten, and the page around a drawing."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from bhvit.errors import InvalidInput
from searcher.charts.chart import Bars, Chart, Figure, HeatMap, Parallel, TrialPoint, panels_across
from searcher.files import put_out, require_writable
from searcher.quantities import QUANTITIES, Quantity
from searcher.snapshot import StudySnapshot
from searcher.views.chart_file import as_png, as_svg
from searcher.views.choices_file import parallel_note
from searcher.views.figure import heading, notes

Rows = list[tuple[str, ...]]
_STYLE = """
:root { color-scheme: light dark; --line: #8888; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
figure { margin: 0; background: #fff; border: 1px solid var(--line); border-radius: 6px; padding: .5rem; }
svg { width: 100%; height: auto; display: block; }
table { border-collapse: collapse; margin-top: 1.5rem; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .9rem .15rem 0; text-align: left; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; }
"""


def write_figure(snapshot: StudySnapshot, figure: Figure, path: Path) -> str:
    """Write the figure in the form that the suffix of `path` asks for; says what was done, in one line."""
    return put_out(path, _FORMATS[path.suffix.lower()](snapshot, figure), figure.title)


def check_output(path: Path) -> None:
    """Refuse names without a known suffix, in a folder that is not there, or of a file that is something else."""
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise InvalidInput(f"--out must end in {', '.join(_FORMATS)}, but it is {str(path)!r}; rename it.")
    require_writable(path)
    if path.exists() and not _holds(path, suffix):
        raise InvalidInput(
            f"--out replaces files of its own kind only, but {path} holds no {suffix[1:].upper()}; use another name."
        )


def _holds(path: Path, suffix: str) -> bool:
    """Whether the file begins as one with this suffix does; an empty one does."""
    with path.open("rb") as file:
        head = file.read(512)
    beginnings = {".png": (b"\x89PNG\r\n",), ".svg": (b"<?xml", b"<svg"), ".html": (b"<!doctype html", b"<html")}
    return not head or head.lstrip().lower().startswith(tuple(b.lower() for b in beginnings[suffix]))


def _svg(snapshot: StudySnapshot, figure: Figure) -> bytes:
    return as_svg(figure, heading(snapshot, figure), notes(snapshot, figure, parallel_note)).encode()


def _png(snapshot: StudySnapshot, figure: Figure) -> bytes:
    return as_png(figure, heading(snapshot, figure), notes(snapshot, figure, parallel_note))


def _page(snapshot: StudySnapshot, figure: Figure) -> bytes:
    """One page that needs nothing else: the drawing, the notes, the data as a table."""
    svg = as_svg(figure, heading(snapshot, figure), ())
    drawing = svg[svg.index("<svg") :]
    title = html.escape(heading(snapshot, figure))
    paragraphs = "".join(f"<p>{html.escape(note)}</p>\n" for note in notes(snapshot, figure, parallel_note))
    head, *rows = data_table(figure)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n<title>{title}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<figure>\n{drawing}</figure>\n{paragraphs}"
        f"<table>\n<thead>{_row(head, 'th')}</thead>\n<tbody>\n"
        f"{''.join(_row(row, 'td') for row in rows)}</tbody>\n</table>\n</body>\n</html>\n"
    ).encode()


def data_table(figure: Figure) -> Rows:
    """The data of a figure as text, headings first: a row a bar, a layer, a choice, or a trial, best first."""
    panel = figure.panels[0]
    rows: Rows = []
    match panel:
        case Bars():
            rows.append(("variable", f"{panel.label} (%)", "effect"))
            rows += [(bar.name, f"{100 * bar.value:.1f}", bar.note) for bar in panel.bars]
        case HeatMap():
            rows += _heatmap_rows([p for p in figure.panels if isinstance(p, HeatMap)])
        case Parallel():
            rows.append(("variable", "choice", "best trials", "all trials"))
            for v in panel.variables:
                rows += [(v.name, c, str(n), str(m)) for c, n, m in zip(v.choices, v.best, v.all, strict=True)]
        case Chart():
            trials = sorted(figure.trials, key=lambda t: (-(t.accuracy or 0), t.number))
            known = [q for q in QUANTITIES.values() if all(q.of(trial) is not None for trial in trials)]
            rows.append(("trial", "outcome", "Top-1 (%)", *(q.label for q in known)))
            rows += (_trial_row(trial, known) for trial in trials)
    return rows


def _trial_row(trial: TrialPoint, costs: Sequence[Quantity]) -> tuple[str, ...]:
    accuracy = "" if trial.accuracy is None else f"{100 * trial.accuracy:.1f}"
    return str(trial.number), str(trial.outcome), accuracy, *(cost.text(cost.of(trial)) for cost in costs)


def _heatmap_rows(heats: list[HeatMap]) -> Rows:
    """A row a layer and precision, of one model after the other where there are several."""
    across = panels_across(heats)
    several = ("model",) if heats[0].model else ()
    rows: Rows = [(*several, "layer", "precision", "trials", *(heat.title for heat in heats[:across]))]
    for start in range(0, len(heats), across):
        maps = heats[start : start + across]
        model = (maps[0].model,) if several else ()
        for i, layer in enumerate(maps[0].rows):
            for j, precision in enumerate(maps[0].columns):
                values = [heat.values[i][j] for heat in maps]
                texts = ("" if v is None else f"{100 * v:.1f}" for v in values)
                rows.append((*model, layer, precision, str(maps[0].counts[i][j]), *texts))
    return rows


def _row(cells: tuple[str, ...], tag: str) -> str:
    written = (f'<{tag} class="n">' if cell[:1].isdigit() else f"<{tag}>" for cell in cells)
    return f"<tr>{''.join(f'{o}{html.escape(c)}</{tag}>' for o, c in zip(written, cells, strict=True))}</tr>\n"


_FORMATS: Mapping[str, Callable[[StudySnapshot, Figure], bytes]] = MappingProxyType(
    {".png": _png, ".svg": _svg, ".html": _page}
)
