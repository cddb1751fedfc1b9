"""What a reproduction is going to train: run by run, and how long that takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from bhvit.wording import counted
from searcher.numbers import duration_text
from searcher.reproduction_runs import Run
from searcher.views.console import table


@dataclass(frozen=True)
class PlannedRun:
    """A run with the id of its FP parent and what is left of both phases, in epochs.

    `state` of the parent: `to train`, `shared` (an earlier run of the plan trains it), `there`, or `finished`, the run
    itself.
    """

    run: Run
    parent: str
    state: str
    fp_epochs: int
    qat_epochs: int


def plan_view(
    plan: Sequence[PlannedRun], seconds: Mapping[str, Sequence[float]], notes: Sequence[str]
) -> RenderableType:
    """One line a run, then totals; `seconds` maps a device's name to the time of each run on it."""
    right = [(name, "right") for name in ("FP epochs", "QAT epochs", *seconds)]
    result = table(("#", "right"), ("seed", "right"), "model", "FP parent", *right)
    for i, planned in enumerate(plan):
        times = [duration_text(each[i]) if each[i] else "-" for each in seconds.values()]
        epochs = (str(planned.fp_epochs or "-"), str(planned.qat_epochs or "-"))
        result.add_row(str(i + 1), str(planned.run.seed), planned.run.row.label, planned.state, *epochs, *times)
    finished = sum(planned.state == "finished" for planned in plan)
    trained = sum(planned.state == "to train" for planned in plan)
    saved = len(plan) - finished - trained
    lines = [
        f"{counted(len(plan), 'run')}, {finished} finished; {counted(trained, 'FP training')} to do, {saved} saved "
        "by sharing parents.",
        *(f"{name}: {duration_text(sum(each))} in all, one run after the other." for name, each in seconds.items()),
    ]
    return Group(result, "", *lines, *(Text(note, style="dim") for note in notes))
