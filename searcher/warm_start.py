"""From the full-precision parent to the candidate: every parameter that both have, and a reason for every other one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from bhvit.errors import InvalidInput
from bhvit.family_model import FamilyModel

LISTED = 5  # names of each kind in a message


@dataclass(frozen=True)
class WarmStartReport:
    """Names of parameters and buffers by what became of them.

    `loaded` were copied. `declared_new` exist in the candidate's form only (scales of its quantizers, which the first
    batch sets), `declared_dropped` in the parent's only (the residual path of downsampling layers that the candidate
    has in plain form). `mismatched` have two shapes; `missing` are the candidate's, `unexpected` the parent's, without
    such a reason.
    """

    loaded: tuple[str, ...]
    declared_new: tuple[str, ...]
    declared_dropped: tuple[str, ...]
    mismatched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def warm_start(model: FamilyModel, parent: nn.Module) -> WarmStartReport:
    """Copy all that `model` and its trained full-precision `parent` share into `model`.

    Raises `InvalidInput` with the names, before anything is copied, where the rest is not declared: a start that
    covers less than the whole model would be a cold start in disguise.
    """
    report = _compared(model, parent)
    undeclared = {
        "mismatched": report.mismatched,
        "missing in the parent": report.missing,
        "unexpected in the parent": report.unexpected,
    }
    if any(undeclared.values()):
        listed = "; ".join(f"{len(names)} {kind} ({_some(names)})" for kind, names in undeclared.items() if names)
        raise InvalidInput(
            f"a warm start must cover the whole model, but {listed}; train the parent of the candidate's own "
            "architecture, norm and classes."
        )
    ours, theirs = model.state_dict(), parent.state_dict()
    model.load_state_dict(ours | {name: theirs[name] for name in report.loaded})
    return report


def _compared(model: FamilyModel, parent: nn.Module) -> WarmStartReport:
    ours, theirs = model.state_dict(), parent.state_dict()
    new, dropped = model.quantizer_state(), model.dropped_from(parent)
    common = [name for name in ours if name in theirs]
    only_ours = [name for name in ours if name not in theirs]
    only_theirs = [name for name in theirs if name not in ours]
    return WarmStartReport(
        loaded=tuple(n for n in common if ours[n].shape == theirs[n].shape),
        declared_new=tuple(n for n in only_ours if n in new),
        declared_dropped=tuple(n for n in only_theirs if n in dropped),
        mismatched=tuple(n for n in common if ours[n].shape != theirs[n].shape),
        missing=tuple(n for n in only_ours if n not in new),
        unexpected=tuple(n for n in only_theirs if n not in dropped),
    )


def _some(names: tuple[str, ...]) -> str:
    more = f", and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
