"""What the points of a drawing are, as titles that browsers show where the pointer rests on them."""

from __future__ import annotations

from xml.etree import ElementTree

from searcher.charts.chart import Chart, Figure, TrialPoint
from searcher.quantities import costs_text


def with_titles(svg: str, figure: Figure) -> str:
    """The drawing with a title in every point that is a trial, and in every line: browsers show it on pointing."""
    said = {t.number: _point_text(t) for t in figure.trials}
    wanted = {
        f"series-{i}-{j}": s
        for i, panel in enumerate(figure.panels)
        if isinstance(panel, Chart)
        for j, s in enumerate(panel.series)
    }
    names = {"": "http://www.w3.org/2000/svg", "xlink": "http://www.w3.org/1999/xlink"}
    for prefix, uri in names.items():
        ElementTree.register_namespace(prefix, uri)
    root = ElementTree.fromstring(svg)
    tag = f"{{{names['']}}}"
    for group in root.iter(f"{tag}g"):
        series = wanted.get(group.get("id", ""))
        if series is None:
            continue
        title = ElementTree.Element(f"{tag}title")
        title.text = series.name
        group.insert(0, title)
        if series.trials:
            for use, number in zip(group.iter(f"{tag}use"), series.trials, strict=True):
                ElementTree.SubElement(use, f"{tag}title").text = said[number]
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _point_text(trial: TrialPoint) -> str:
    accuracy = "" if trial.accuracy is None else f"Top-1 {100 * trial.accuracy:.1f} %, "
    return f"trial {trial.number}: {accuracy}{costs_text(trial)}, {trial.outcome}"
