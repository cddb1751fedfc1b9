"""A study as a whole: the question, how far it is, the leaderboard, where the trials went, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from searcher.events import SearchStarted, last_start
from searcher.front import pareto_front
from searcher.ranking import outcome_counts, parents_saved, ranked
from searcher.records import TrialRecord
from searcher.space import Space
from searcher.study_folder import StudyFolder
from searcher.views.leaderboard import leaderboard, leaderboard_notes, record_json
from searcher.views.numbers import duration_text

_COST_NAMES = {"memory": "memory", "ops": "OPs"}


def study_view(folder: StudyFolder, space: Space, records: Sequence[TrialRecord], top: int | None) -> RenderableType:
    """Header, leaderboard and summary."""
    parts: list[RenderableType] = [*_head(folder, space, records), ""]
    objectives = space.search.objectives
    listed = len(ranked(records, space.budget))
    if len(objectives) > 1 and listed:
        front = pareto_front(records, space.budget, objectives)
        costs = " and ".join(_COST_NAMES[name] for name in objectives[1:])
        parts += [Text(f"Pareto front of accuracy against {costs}: {len(front)} of {listed} trained trials"), ""]
        parts += [leaderboard(front, space.budget, top), "", *_dim(leaderboard_notes(front, space.budget))]
    elif listed:
        parts.append(leaderboard(records, space.budget, top))
        if top is not None and listed > top:
            parts.append(Text(f"... and {listed - top:,} more: --top {listed}", style="dim"))
        parts += ["", *_dim(leaderboard_notes(records, space.budget))]
    else:
        parts.append("No trained trial is within the budget yet.")
    return Group(*parts, *_summary(records))


def study_json(folder: StudyFolder, space: Space, records: Sequence[TrialRecord]) -> dict[str, Any]:
    """The study as plain data; trials in the order of their numbers, `ranking` lists numbers best first."""
    trained, saved = parents_saved(records)
    started = last_start(folder.events)
    return {
        "study": str(folder.path),
        "budget": {"accounting": space.budget.accounting, **space.budget.limits},
        "space_size": space.size,
        "feasible": None if started is None else started.feasible,
        "planned": _planned(started, space),
        "outcomes": outcome_counts(records),
        "fp_trainings": trained,
        "fp_trainings_saved": saved,
        "objectives": list(space.search.objectives),
        "front": [r.number for r in pareto_front(records, space.budget, space.search.objectives)],
        "ranking": [r.number for r in ranked(records, space.budget)],
        "trials": [dict(record_json(r, space.budget)) for r in records],
    }


def next_commands(
    program: str,
    search: Sequence[str],
    ablation: Sequence[str],
    folder: Path,
    records: Sequence[TrialRecord],
    space: Space,
) -> RenderableType:
    """What to try after a search, ready to be pasted.

    `program` is how the user called us, `search` and `ablation` the arguments that go on and that ablate.
    """
    best = ranked(records, space.budget)
    rows = [(["show", str(folder)], "this table")]
    if best:
        rows.append((["evaluate", str(folder), str(best[0].number)], "its test accuracy, once"))
    rows += [(list(search), "go on"), (list(ablation), "hidden against MLP")]
    commands = [f"  {program} {shlex.join(arguments)}" for arguments, _ in rows]
    width = max(map(len, commands))
    lines = [
        Text.assemble(command.ljust(width), (f"   {purpose}", "dim"))
        for command, (_, purpose) in zip(commands, rows, strict=True)
    ]
    return Group(*lines)


def _head(folder: StudyFolder, space: Space, records: Sequence[TrialRecord]) -> Iterator[RenderableType]:
    trained = [r for r in records if r.outcome.finished and r.attempts > 0]
    done = sum(not space.budget.violations(r) for r in trained)
    beyond = f", and {len(trained) - done} beyond this budget" if len(trained) > done else ""
    started = last_start(folder.events)
    within = "" if started is None else f", {started.feasible:,} within the budget"
    yield Text.assemble((str(folder.path), "bold"), f": {done} of {_planned(started, space)} trials{beyond}")
    yield f"space: {space.size:,} configurations{within}"
    yield f"budget: {space.budget}"


def _planned(started: SearchStarted | None, space: Space) -> int:
    """Trials that the last run was asked for (`--trials` may differ from the space file)."""
    return space.search.trials if started is None else started.planned


def _summary(records: Sequence[TrialRecord]) -> Iterator[str]:
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in outcome_counts(records).items())
    yield f"Trials: {outcomes or 'none yet'}."
    trained, saved = parents_saved(records)
    if trained or saved:
        seconds = sum(r.metrics.seconds for r in records if r.metrics is not None)
        yield f"FP trainings: {trained} run, {saved} saved by sharing parents; {duration_text(seconds)} of training."
    for record in records:
        if record.metrics is not None and record.metrics.restarts:
            yield f"trial {record.number}: its loss became NaN or infinite; it went on from its last good epoch."
        if record.message and record.outcome.finished:
            yield f"trial {record.number} {record.outcome}: {record.message}"


def _dim(lines: Sequence[str]) -> list[Text]:
    return [Text(line, style="dim") for line in lines]
