"""The studies in a folder, each in a few figures; no torch, no optuna, no rich."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bhvit.errors import InvalidInput
from searcher.budget import Budget
from searcher.events import last_time
from searcher.plain import budget_json, costs_json
from searcher.ranking import metrics_of, outcome_counts
from searcher.records import Outcome, TrialRecord
from searcher.snapshot import State, StudySnapshot, snapshot_of
from searcher.study_folder import StudyFolder

RECENT = 10  # trials whose mean training time says how long the next ones take


@dataclass(frozen=True)
class StudyEntry:
    """A study of the list; `state` is None and `problem` says why where it cannot be read.

    `done` of `planned` trials are trained within the budget; `best` is the most accurate of them. `active` is the last
    sign of life in seconds since 1970, `remaining` the seconds left, which are `estimated` from earlier trainings where
    no running search says them; None where nothing is left or known.
    """

    name: str
    path: Path
    state: State | None
    problem: str = ""
    budget: Budget | None = None
    objectives: tuple[str, ...] = ()
    done: int = 0
    planned: int = 0
    outcomes: dict[str, int] | None = None
    best: TrialRecord | None = None
    active: float | None = None
    remaining: float | None = None
    estimated: bool = False

    def count(self, *outcomes: Outcome) -> int:
        """Trials that came to one of these."""
        return sum((self.outcomes or {}).get(outcome.value, 0) for outcome in outcomes)

    @property
    def accuracy(self) -> float | None:
        """Validation Top-1 (0..1) of the best trial."""
        return None if self.best is None else metrics_of(self.best).accuracy

    def to_json(self) -> dict[str, Any]:
        """Plain data of the entry."""
        best, budget = self.best, self.budget
        return {
            "study": self.name,
            "path": str(self.path),
            "state": "unreadable" if self.state is None else self.state.value,
            "problem": self.problem,
            "budget": budget and budget_json(budget),
            "objectives": list(self.objectives),
            "done": self.done,
            "planned": self.planned,
            "outcomes": self.outcomes or {},
            "best": best and costs_json(best),
            "last_sign": self.active,
            "remaining_seconds": self.remaining,
            "remaining_estimated": self.estimated,
        }


def studies_in(folder: Path) -> list[StudyEntry]:
    """Every study at `folder`, directly in it, and one level deeper, by name; damaged ones say what is wrong."""
    return [_entry(str(path.relative_to(folder)) if path != folder else path.name, path) for path in _places(folder)]


def _places(folder: Path) -> Iterator[Path]:
    """Folders of studies; a study's own subfolders and those of other purposes (`_warm_starts`) are not looked into."""
    if _is_study(folder):
        yield folder
        return
    for path in _subfolders(folder):
        if _is_study(path):
            yield path
        else:
            yield from (p for p in _subfolders(path) if _is_study(p))


def _is_study(folder: Path) -> bool:
    return os.path.exists(StudyFolder(folder).space_file)  # False where we may not look, unlike Path.exists


def _subfolders(folder: Path) -> list[Path]:
    if not os.access(folder, os.R_OK | os.X_OK):  # somebody else's
        return []
    names = sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith((".", "_")))
    return [folder / name for name in names]


def _entry(name: str, path: Path) -> StudyEntry:
    folder = StudyFolder(path)
    try:
        study = snapshot_of(folder)
    except (InvalidInput, OSError) as error:
        reason = str(error)
        if isinstance(error, OSError) and error.filename:
            reason = f"{error.filename}: {error.strerror}"
        return StudyEntry(name, path, None, " ".join(reason.split()), active=_last_event(folder))
    remaining, estimated = _remaining(study)
    times = (last_time(folder.events), None if study.status is None else study.status.time)
    return StudyEntry(
        name,
        path,
        study.state,
        budget=study.budget,
        objectives=study.space.search.objectives,
        done=study.done,
        planned=study.planned,
        outcomes=outcome_counts(study.records),
        best=study.ranked[0] if study.ranked else None,
        active=max((t for t in times if t is not None), default=None),
        remaining=remaining,
        estimated=estimated,
    )


def _last_event(folder: StudyFolder) -> float | None:
    try:
        return last_time(folder.events)
    except OSError:
        return None


def _remaining(study: StudySnapshot) -> tuple[float | None, bool]:
    """Seconds left, and whether they are an estimate: the mean of the last trainings for each trial that is missing."""
    if study.status is not None and study.status.remaining is not None:
        return study.status.remaining, False
    missing = study.goal - study.done
    return (None, False) if missing <= 0 else _estimate(study.records, missing, study.space.search.workers)


def _estimate(records: Sequence[TrialRecord], missing: int, workers: int) -> tuple[float | None, bool]:
    seconds = [r.metrics.seconds for r in records if r.metrics is not None][-RECENT:]
    return (missing * sum(seconds) / len(seconds) / workers, True) if seconds else (None, False)
