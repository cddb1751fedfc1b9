"""A candidate in one line: its widths and its precisions, as short as they can be said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from bhvit.precision import Precision
from searcher.candidate import Candidate
from searcher.precision_groups import grouped
from searcher.space import Space
from searcher.variables import Kind


def widths_text(candidate: Candidate) -> str:
    """The widths in full, such as `C 64,128,256,512  I 512,1024,1024,2048`."""
    a = candidate.architecture
    return f"C {','.join(map(str, a.embed_dims))}  I {','.join(map(str, a.intermediate_dims))}"


def network_text(candidate: Candidate, label: str = "") -> str:
    """Its model, of several that with this `label`, and its widths: `bhvit  C 64,128,256,512  I 512,1024,1024,2048`."""
    return f"{model_text(label, candidate.family)}  {widths_text(candidate)}"


def candidate_text(candidate: Candidate, label: str = "") -> Text:
    """The whole candidate in one line: its network (`network_text`), then the plan in words."""
    return Text.assemble((network_text(candidate, label), "bold"), f"  {precision_text(candidate.layers)}")


def model_text(label: str, family: str) -> str:
    """Which model: its family, in brackets after a label that is another word."""
    return family if label in ("", family) else f"{label} ({family})"


def factor_text(choices: Mapping[str, Any], name: str, fixed: str = "1") -> str:
    """The chosen width factor `name` (hidden, intermediate): `1.5`, or `1/1/2/2` a stage; `fixed` where none is."""
    if name in choices:
        return f"{choices[name]:g}"
    stages = [f"{value:g}" for key, value in choices.items() if key.startswith(f"{name}.")]
    return "/".join(stages) if stages else fixed


def choices_text(space: Space, choices: Mapping[str, Any]) -> str:
    """Choices in one line: the model of several, its widths, then the plan: `hidden 2, binary, downsample fp16`."""
    model = space.model_of(choices)
    widths = [f"{v.name} {choices[v.name]:g}" for v in model.variables if v.kind is not Kind.PRECISION]
    return ", ".join([*filter(None, [model.label]), *widths, precision_text(space.candidate(choices).layers)])


def precision_text(layers: Mapping[str, Precision]) -> str:
    """The plan in words: the commonest precision, then what differs, by the largest groups that are uniform.

    `binary`, `binary, downsample fp16`, `binary, downsample1 int8, stage2.attention fp16`.
    """
    default, groups = grouped(layers)
    return ", ".join([default.name, *(f"{group.name} {group.precision}" for group in groups)])
