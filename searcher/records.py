"""What is known of a trial, as plain data on disk: the twin of the study's row, readable without optuna or torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from bhvit.errors import InvalidInput
from searcher.candidate import Candidate
from searcher.files import read_json, write_json
from searcher.schema import from_mapping

RECORD_FILE = "record.json"
SCHEMA_VERSION = 2
READABLE_SCHEMAS = (1, 2)  # 2 added fields that have defaults


class Outcome(StrEnum):
    """How a trial stands or ended."""

    WAITING = "waiting"  # proposed, not begun
    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"  # by its learning curve
    OVER_BUDGET = "over budget"  # an enqueued point; never trained
    DIVERGED = "diverged"  # NaN or infinite loss
    OUT_OF_MEMORY = "out of memory"
    CRASHED = "crashed"
    INTERRUPTED = "interrupted"

    @property
    def finished(self) -> bool:
        """Whether the trial will not be taken up again."""
        return self not in (Outcome.WAITING, Outcome.RUNNING, Outcome.INTERRUPTED)

    @property
    def trained(self) -> bool:
        """Whether the trial has an accuracy to compare."""
        return self in (Outcome.COMPLETE, Outcome.STOPPED)


@dataclass(frozen=True)
class EpochRecord:
    """One finished epoch of phase `fp` or `qat`; `epoch` counts from 1.

    Losses are means over images, `accuracy` is validation Top-1 in 0..1, `seconds` the wall time with its validation.
    """

    phase: str
    epoch: int
    epochs: int
    train_loss: float
    val_loss: float
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Metrics:
    """Result of a trained candidate. Accuracies are validation Top-1 in 0..1.

    `accuracy` is the best epoch of phase 2 (the epoch whose weights are kept), `final_accuracy` its last epoch,
    `parent_accuracy` the FP parent's best. `parent_trained` says whether this trial trained the parent or found it.
    """

    accuracy: float
    final_accuracy: float
    best_epoch: int
    parent_key: str
    parent_accuracy: float
    parent_trained: bool
    epochs: tuple[EpochRecord, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class ClassResult:
    """Top-1 accuracy (0..1) on the `images` of one class."""

    name: str
    images: int
    accuracy: float


@dataclass(frozen=True)
class Evaluation:
    """Top-1 accuracy (0..1) and mean cross-entropy on `images` images, with the accuracy of every class."""

    split: str
    accuracy: float
    loss: float
    images: int
    per_class: tuple[ClassResult, ...]


@dataclass(frozen=True)
class TrialRecord:
    """A trial: its number, candidate, choices, cost, outcome and metrics.

    `choices` maps each variable of the space to its value; `memory_bytes` and `ops` are in the study's accounting;
    `attempts` counts starts; `message` explains outcomes other than complete. The trial was proposed, and its early
    stopping is judged, from the results of the trials numbered below `horizon`. `peak_bytes` is the measured peak of
    a training that ran out of memory, `worker` who trained last.
    """

    number: int
    candidate: Candidate
    choices: dict[str, Any]
    memory_bytes: float
    ops: float
    outcome: Outcome
    metrics: Metrics | None = None
    attempts: int = 1
    message: str = ""
    horizon: int = 0
    peak_bytes: float | None = None
    worker: str = ""
    schema: int = field(default=SCHEMA_VERSION)

    def __post_init__(self) -> None:
        if self.outcome.trained and self.metrics is None:
            raise InvalidInput(f"a trial with outcome {self.outcome} must have metrics, but it has none.")

    @property
    def name(self) -> str:
        """Folder name, such as `0007-1f3a9c02d4`."""
        return f"{self.number:04d}-{self.candidate.id}"

    def to_json(self) -> dict[str, Any]:
        """Plain data of the record."""
        data: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        data["candidate"] = self.candidate.to_json()
        data["outcome"] = self.outcome.value
        data["metrics"] = None if self.metrics is None else dataclasses.asdict(self.metrics)
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrialRecord:
        """The inverse of `to_json`; raises `InvalidInput` for data of another schema version or shape."""
        if not isinstance(data, dict) or data.get("schema") not in READABLE_SCHEMAS:
            found = data.get("schema") if isinstance(data, dict) else None
            raise InvalidInput(f"a trial record must have schema {SCHEMA_VERSION}, but this one has {found!r}.")
        values = {**data, "schema": SCHEMA_VERSION}
        try:
            values["candidate"] = Candidate.from_json(data["candidate"])
            values["outcome"] = Outcome(data["outcome"])
        except (KeyError, ValueError) as error:
            raise InvalidInput(f"not a trial record: {error}") from error
        return from_mapping(cls, values, "record")


def write_record(folder: Path, record: TrialRecord) -> None:
    """Store `record` in the trial folder `folder`."""
    write_json(folder / RECORD_FILE, record.to_json())


def read_record(folder: Path) -> TrialRecord:
    """The record in the trial folder `folder`."""
    path = folder / RECORD_FILE
    data = read_json(path)
    try:
        return TrialRecord.from_json(data)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error


def read_records(study_folder: Path) -> list[TrialRecord]:
    """Every trial record of a study folder, by number."""
    paths = sorted((study_folder / "trials").glob(f"*/{RECORD_FILE}"))
    return sorted((read_record(p.parent) for p in paths), key=lambda r: r.number)
