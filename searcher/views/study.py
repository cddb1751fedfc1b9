"""A study as a whole: the question, how far it is, the leaderboard, where the trials went, what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from searcher.events import read_events
from searcher.records import TrialRecord
from searcher.space import Space
from searcher.study_folder import StudyFolder
from searcher.views.leaderboard import (
    leaderboard,
    leaderboard_notes,
    outcome_counts,
    parents_saved,
    ranked,
    record_json,
)
from searcher.views.numbers import duration_text


def study_view(folder: StudyFolder, space: Space, records: Sequence[TrialRecord], top: int | None) -> RenderableType:
    """Header, leaderboard and summary."""
    parts: list[RenderableType] = [*_head(folder, space, records), ""]
    if ranked(records, space.budget):
        parts += [leaderboard(records, space.budget, top), "", *_dim(leaderboard_notes(records, space.budget))]
    else:
        parts.append("No trained trial is within the budget yet.")
    return Group(*parts, *_summary(records))


def study_json(folder: StudyFolder, space: Space, records: Sequence[TrialRecord]) -> dict[str, Any]:
    """The study as plain data; trials in the order of their numbers, `ranking` lists numbers best first."""
    trained, saved = parents_saved(records)
    return {
        "study": str(folder.path),
        "budget": {"accounting": space.budget.accounting, **space.budget.limits},
        "space_size": space.size,
        "feasible": _feasible(folder),
        "planned": space.search.trials,
        "outcomes": outcome_counts(records),
        "fp_trainings": trained,
        "fp_trainings_saved": saved,
        "ranking": [r.number for r in ranked(records, space.budget)],
        "trials": [dict(record_json(r, space.budget)) for r in records],
    }


def next_commands(
    program: str, file: str, folder: Path, planned: int, records: Sequence[TrialRecord], space: Space
) -> Table:
    """What to try after a search, ready to be pasted; `program` is how the user called us, `file` the space file."""
    best = ranked(records, space.budget)
    rows = [(f"show {folder}", "this table again")]
    if best:
        rows.append((f"evaluate {folder} {best[0].number}", "the best on the test split, read once"))
    rows.append((f"search {file} --trials {2 * planned}", "go on"))
    rows.append((f"ablation {file}", "is hidden or intermediate width worth more?"))
    result = Table.grid(padding=(0, 2))
    result.add_column(overflow="fold")
    for command, purpose in rows:
        result.add_row(f"  {program} {command}", Text(purpose, style="dim"))
    return result


def _head(folder: StudyFolder, space: Space, records: Sequence[TrialRecord]) -> Iterator[RenderableType]:
    done = sum(r.outcome.finished and r.attempts > 0 for r in records)
    feasible = _feasible(folder)
    within = "" if feasible is None else f", {feasible:,} within the budget"
    yield Text.assemble((str(folder.path), "bold"), f": {done} of {space.search.trials} trials")
    yield f"space: {space.size:,} configurations{within}"
    yield f"budget: {space.budget}"


def _feasible(folder: StudyFolder) -> int | None:
    counts = [e["feasible"] for e in read_events(folder.events) if e["event"] == "SearchStarted"]
    return counts[-1] if counts else None


def _summary(records: Sequence[TrialRecord]) -> Iterator[str]:
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in outcome_counts(records).items())
    yield f"Trials: {outcomes or 'none yet'}."
    trained, saved = parents_saved(records)
    if trained:
        seconds = sum(r.metrics.seconds for r in records if r.metrics is not None)
        yield f"FP trainings: {trained} run, {saved} saved by sharing parents; {duration_text(seconds)} of training."
    for record in records:
        if record.message and record.outcome.finished:
            yield f"trial {record.number} {record.outcome}: {record.message}"


def _dim(lines: Sequence[str]) -> list[Text]:
    return [Text(line, style="dim") for line in lines]
