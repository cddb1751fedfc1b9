"""What `searcher deploy` wrote, how it was checked, and what to do with it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from searcher.deployed_files import Agreement, Deployed, Deployment
from searcher.numbers import size_text
from searcher.views.candidate import precision_text, widths_text
from searcher.views.console import table
from searcher.views.layout import Command, suggestions

PACKED = ".bhvit"


def deployment_view(deployment: Deployment, program: str) -> RenderableType:
    """The files as a table, notes, and the next commands."""
    candidate, f = deployment.candidate, deployment.float32
    figures = [(heading, "right") for heading in ("same class", "equal", "largest")]
    rows = table("file", ("size", "right"), "is", *figures, "")
    for file in deployment.files:
        rows.add_row(str(file.path), size_text(file.size), file.about, *_figures(file.agreement), _verdict(file))
    rows.add_row(Text("PyTorch float32", style="dim"), "", "", *_figures(f), "")
    noise = f.images - deployment.real
    return Group(
        Text.assemble((widths_text(candidate), "bold"), f"  {precision_text(candidate.layers)}"),
        "",
        rows,
        "",
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


def _figures(agreement: Agreement) -> tuple[str, str, str]:
    a = agreement
    return f"{a.same}/{a.images}", f"{a.equal}/{a.images}", f"{a.largest:.1e}"


def _verdict(file: Deployed) -> Text:
    check = ("checked", "green") if file.exact else ("deviates on purpose", "yellow")
    return Text.assemble(f"{file.state}, ", check)


def _next(deployment: Deployment, program: str) -> Iterator[RenderableType]:
    yield ""
    for file in deployment.files:
        if file.path.suffix == PACKED:
            yield Text("classify an image:", style="dim")
            yield Command(["python", "-m", "bhvit.runtime", shlex.quote(str(file.path)), "image.jpg"])
    yield from suggestions(
        program, [("time them on this machine", ["bench", *(str(f.path) for f in deployment.files)])]
    )
