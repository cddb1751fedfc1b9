"""What `searcher deploy` wrote, how it was checked, and what to do with it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bhvit.export.agreement import Agreement
from searcher.deployed_files import Deployed, Deployment
from searcher.numbers import size_text
from searcher.views.candidate import candidate_text
from searcher.views.console import table
from searcher.views.layout import Command, WidestThatFits, suggestions


def deployment_view(deployment: Deployment, program: str, label: str = "") -> RenderableType:
    """The files as a table, notes, and the next commands; `label` is which of several models it is."""
    noise = deployment.float32.images - deployment.real
    return Group(
        candidate_text(deployment.candidate, label),
        Text(f"in {deployment.files[0].path.parent}:", no_wrap=True, overflow="ignore"),
        "",
        WidestThatFits([lambda: _table(deployment), lambda: _table(deployment, about=False)]),
        "",
        *_packed_size(deployment),
        Text(
            f"Against PyTorch in float64, on {deployment.real} validation images and {noise} of noise: images with the "
            "same largest class, with equal logits up to rounding, and the largest deviation of a logit.",
            style="dim",
        ),
        *(Text(f"Note: {note}.", style="yellow") for note in deployment.notes),
        *_next(deployment, program),
    )


def deployment_json(deployment: Deployment) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "candidate": deployment.candidate.to_json(),
        "complete_bytes": deployment.complete_bytes,
        "packed_excess": deployment.packed_excess,
        "real_images": deployment.real,
        "float32": asdict(deployment.float32),
        "files": [
            {
                "file": str(file.path),
                "bytes": file.size,
                "state": file.state,
                "about": file.about,
                "exact": file.exact,
                **asdict(file.agreement),
            }
            for file in deployment.files
        ],
        "notes": list(deployment.notes),
    }


def _table(deployment: Deployment, about: bool = True) -> Table:
    """A row a file, with what it is where there is room for `about`."""
    figures = [(heading, "right") for heading in ("same class", "equal", "largest")]
    rows = table("file", ("size", "right"), *(["is"] if about else []), *figures, "")
    rows.columns[0].no_wrap = True
    for file in deployment.files:
        words = [file.about] if about else []
        rows.add_row(file.path.name, size_text(file.size), *words, *_figures(file.agreement), _verdict(file))
    words = [""] if about else []
    rows.add_row(Text("PyTorch float32", style="dim"), "", *words, *_figures(deployment.float32), "")
    return rows


def _packed_size(deployment: Deployment) -> Iterator[str]:
    if deployment.packed is not None and deployment.packed_excess is not None:
        cost, excess = size_text(deployment.complete_bytes), f"{100 * deployment.packed_excess:+.1f} %"
        yield f"{deployment.packed.path.name}: complete cost {cost}, file {excess}."


def _figures(agreement: Agreement) -> tuple[str, str, str]:
    a = agreement
    return f"{a.same}/{a.images}", f"{a.equal}/{a.images}", f"{a.largest:.1e}"


def _verdict(file: Deployed) -> Text:
    check = ("checked", "green") if file.exact else ("deviates on purpose", "yellow")
    return Text.assemble(f"{file.state}, ", check)


def _next(deployment: Deployment, program: str) -> Iterator[RenderableType]:
    yield ""
    if deployment.packed is not None:
        yield Text("classify an image:", style="dim")
        yield Command(["python", "-m", "bhvit.runtime", shlex.quote(str(deployment.packed.path)), "image.jpg"])
    yield from suggestions(
        program, [("time them on this machine", ["bench", *(str(f.path) for f in deployment.files)])]
    )
