"""The same question asked with other seeds: studies beside one, and what they found for the same candidates."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bhvit.errors import InvalidInput
from searcher.records import Outcome, TrialRecord
from searcher.snapshot import StudySnapshot
from searcher.space import Space
from searcher.study_folder import StudyFolder


@dataclass(frozen=True)
class Repeat:
    """A study of the same question: its folder, its seed, and how many complete trials it has."""

    path: Path
    seed: int
    trials: int


@dataclass(frozen=True)
class Repeats:
    """The studies, this one first, and the accuracies (0..1) of each candidate id that a trial was completed of.

    `same_seed` names studies that are not among them, since they would be the same trainings again; `unreadable` those
    that could not be read: whether they repeat this one is not known.
    """

    studies: tuple[Repeat, ...] = ()
    accuracies: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    same_seed: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    def count(self, candidate: str) -> int:
        """How many complete trials the candidate has."""
        return len(self.accuracies.get(candidate, ()))

    def mean(self, candidate: str) -> float | None:
        """Mean accuracy; None where there is none."""
        found = self.accuracies.get(candidate)
        return statistics.fmean(found) if found else None

    def spread(self, candidate: str) -> float | None:
        """Standard deviation over seeds (n - 1); None where there are fewer than two."""
        found = self.accuracies.get(candidate, ())
        return statistics.stdev(found) if len(found) > 1 else None


def repeats_of(snapshot: StudySnapshot) -> Repeats:
    """Every study in the parent folder that asks the question of `snapshot` with another seed, whatever its budget."""
    own = snapshot.folder.path.resolve()
    studies = [_repeat(snapshot.folder.path, snapshot.space, snapshot.records)]
    same_seed, unreadable = [], []
    accuracies: dict[str, list[float]] = {}
    _add(accuracies, snapshot.records)
    for file in sorted(own.parent.glob("*/space.yaml")):
        if file.parent == own:
            continue
        folder = StudyFolder(file.parent)
        try:
            space = folder.space()
            if _unseeded(space) != _unseeded(snapshot.space):
                continue
            if any(space.search.seed == study.seed for study in studies):
                same_seed.append(file.parent.name)
            else:
                records = folder.records()
                studies.append(_repeat(folder.path, space, records))
                _add(accuracies, records)
        except (InvalidInput, OSError):
            unreadable.append(file.parent.name)
    return Repeats(
        tuple(studies), {id_: tuple(found) for id_, found in accuracies.items()}, tuple(same_seed), tuple(unreadable)
    )


def candidate_id(record: TrialRecord) -> str:
    """The id of the trial's candidate, from the trial's name: without parsing the candidate."""
    return record.name.partition("-")[2]


def _unseeded(space: Space) -> dict[str, Any]:
    return {key: value for key, value in space.question.items() if key != "seed"}


def _complete(records: tuple[TrialRecord, ...] | list[TrialRecord]) -> list[TrialRecord]:
    return [r for r in records if r.outcome is Outcome.COMPLETE]


def _repeat(path: Path, space: Space, records: tuple[TrialRecord, ...] | list[TrialRecord]) -> Repeat:
    return Repeat(path, space.search.seed, len(_complete(records)))


def _add(accuracies: dict[str, list[float]], records: tuple[TrialRecord, ...] | list[TrialRecord]) -> None:
    for record in _complete(records):
        if record.metrics is not None:
            accuracies.setdefault(candidate_id(record), []).append(record.metrics.accuracy)
