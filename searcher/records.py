"""What is known of a trial, as plain data on disk: the twin of the study's row, readable without optuna or torch."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from bhvit.errors import InvalidInput
from searcher.candidate import Candidate
from searcher.files import read_json, write_text
from searcher.schema import Lazy, from_mapping, lazily

RECORD_FILE = "record.json"
DETAILS, END = ',\n "details": ', "\n}"  # of a record's file
_DETAILS, _END = DETAILS.encode(), f"{END}\n".encode()
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

    @property
    def failed(self) -> bool:
        """Whether the training ended without a result."""
        return self in FAILURES


_OUTCOMES = {outcome.value: outcome for outcome in Outcome}


FAILURES = (Outcome.DIVERGED, Outcome.OUT_OF_MEMORY, Outcome.CRASHED)


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
class Metrics(Lazy):
    """Result of a trained candidate. Accuracies are validation Top-1 in 0..1.

    `accuracy` is the best epoch of phase 2 (the epoch whose weights are kept), `final_accuracy` its last epoch,
    `parent_accuracy` the FP parent's best. `parent_trained` says whether this trial trained the parent or found it,
    `restarts` how often the phases trained here were taken back to their last good epoch by a loss that was not finite.
    """

    accuracy: float
    final_accuracy: float
    best_epoch: int
    parent_key: str
    parent_accuracy: float
    parent_trained: bool
    epochs: tuple[EpochRecord, ...] = field(default_factory=tuple)
    seconds: float = 0.0
    restarts: int = 0


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
class TrialRecord(Lazy):
    """A trial: its number, candidate, choices, cost, outcome and metrics.

    `choices` maps each variable of the space to its value; `memory_bytes` and `ops` are in the study's accounting;
    `attempts` counts starts; `message` explains outcomes other than complete. The trial was proposed, and its early
    stopping is judged, from the results of the trials numbered below `horizon`. `peak_bytes` is the measured peak of
    a training that ran out of memory, `worker` who trained last. `latency_seconds` is what the profile `device`
    (`device_profiles.device_id`) predicts; None and empty where the study names no device.
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
    latency_seconds: float | None = None
    device: str = ""
    schema: int = field(default=SCHEMA_VERSION)

    def __post_init__(self) -> None:
        if self.outcome.trained and self.metrics is None:
            raise InvalidInput(f"a trial with outcome {self.outcome} must have metrics, but it has none.")

    @cached_property
    def name(self) -> str:
        """Folder name, such as `0007-1f3a9c02d4`."""
        return f"{self.number:04d}-{self.candidate.id}"

    def to_json(self) -> dict[str, Any]:
        """Plain data of the record; what is large and seldom looked at stands under `details`."""
        data: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if not self.device:  # nothing is predicted: the same file as ever
            del data["latency_seconds"], data["device"]
        details: dict[str, Any] = {"candidate": data.pop("candidate").to_json()}
        data["outcome"] = self.outcome.value
        if self.metrics is not None:
            data["metrics"] = dataclasses.asdict(self.metrics)
            details["epochs"] = data["metrics"].pop("epochs")
        return {"name": self.name, **data, "details": details}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrialRecord:
        """The inverse of `to_json`; raises `InvalidInput` for data of another schema version or shape."""
        if not isinstance(data, dict) or data.get("schema") not in READABLE_SCHEMAS:
            found = data.get("schema") if isinstance(data, dict) else None
            later = isinstance(found, int) and found > SCHEMA_VERSION
            remedy = "a later version wrote it, update bhvit-searcher" if later else "restore the file"
            raise InvalidInput(
                f"a trial record must have schema {SCHEMA_VERSION}, but this one has {found!r}; {remedy}."
            )
        record = _record(_in_parts(data) if data["schema"] == 1 else data)
        _ = record.candidate, record.metrics and record.metrics.epochs
        return record


def write_record(folder: Path, record: TrialRecord) -> None:
    """Store `record` in the trial folder `folder`."""
    data = record.to_json()
    details = json.dumps(data.pop("details"), allow_nan=False)
    head = json.dumps(data, indent=1, allow_nan=False).removesuffix(END)
    write_text(folder / RECORD_FILE, f"{head}{DETAILS}{details}{END}\n")


def read_record(folder: Path) -> TrialRecord:
    """The record in the trial folder `folder`; its details are parsed when they are asked for.

    Raises `InvalidInput` naming the file where it is damaged, in the details at that later time.
    """
    path = folder / RECORD_FILE
    try:
        content = path.read_bytes()
    except OSError:
        content = b""
    return _record_in(content, str(path))


def _record_in(content: bytes, path: str) -> TrialRecord:
    """The record in the `content` of its file."""
    head, mark, rest = content.partition(_DETAILS)
    try:
        data = json.loads(str(head, "utf-8") + END) if mark and rest.endswith(_END) else None
    except ValueError:
        data = None
    try:
        if data is None or data.get("schema") != SCHEMA_VERSION:
            return TrialRecord.from_json(read_json(Path(path)))
        data["details"] = rest.removesuffix(_END)
        return _record(data, f"{path}: ")
    except InvalidInput as error:
        raise error if path in str(error) else InvalidInput(f"{path}: {error}") from error


class _Details:
    """The part of a record that is parsed when somebody asks for it: plain data, or its JSON."""

    __slots__ = ("data", "where")

    def __init__(self, data: object, where: str) -> None:
        self.data, self.where = data, where

    def get(self, key: str, default: object) -> Any:
        if isinstance(self.data, bytes):
            try:
                self.data = json.loads(self.data)
            except ValueError as error:
                raise InvalidInput(f"{self.where}the details must be JSON, but {error}.") from error
        if not isinstance(self.data, dict):
            raise InvalidInput(f"{self.where}the details must be a mapping, but they are {self.data!r}.")
        return self.data.get(key, default)

    def candidate(self) -> Candidate:
        return Candidate.from_json(self.get("candidate", {}))

    def epochs(self) -> tuple[EpochRecord, ...]:
        return tuple(from_mapping(EpochRecord, epoch, "epoch") for epoch in self.get("epochs", ()))


def _record(data: dict[str, Any], where: str = "") -> TrialRecord:
    """A record from its plain data, whose details may still be JSON."""
    values, metrics, outcome = dict(data), data.get("metrics"), data.get("outcome")
    name, details = values.pop("name", None), _Details(values.pop("details", None), where)
    if not isinstance(outcome, str) or outcome not in _OUTCOMES:
        raise InvalidInput(f"not a trial record: {outcome!r} is not a valid Outcome")
    values["outcome"] = _OUTCOMES[outcome]
    values["metrics"] = None if metrics is None else lazily(Metrics, metrics, "metrics", {"epochs": details.epochs})
    record = lazily(TrialRecord, values, "record", {"candidate": details.candidate})
    if isinstance(name, str):
        record.__dict__["name"] = name  # what the cached property would work out
    return record


def _in_parts(data: dict[str, Any]) -> dict[str, Any]:
    """Data of schema 1, which had no details, in the form of today."""
    values, details = {**data, "schema": SCHEMA_VERSION}, {"candidate": data.get("candidate")}
    values.pop("candidate", None)
    if isinstance(values.get("metrics"), dict):
        values["metrics"] = dict(values["metrics"])
        details["epochs"] = values["metrics"].pop("epochs", ())
    return {**values, "details": details}


def read_records(study_folder: Path) -> list[TrialRecord]:
    """Every trial record of a study folder, by number."""
    trials = os.path.join(study_folder, "trials")
    names = sorted(os.listdir(trials)) if os.path.isdir(trials) else []
    collected = gc.isenabled()
    gc.disable()  # none of this is garbage, and to walk it again and again takes a quarter of the time
    try:
        found = (_stored(f"{trials}/{name}/{RECORD_FILE}") for name in names)
        return sorted((record for record in found if record is not None), key=lambda r: r.number)
    finally:
        if collected:
            gc.enable()


def _stored(path: str) -> TrialRecord | None:
    """The record in a file; None where a trial's folder holds none yet."""
    try:
        with open(path, "rb", buffering=0) as file:
            return _record_in(file.read(), path)
    except (FileNotFoundError, NotADirectoryError):
        return None
