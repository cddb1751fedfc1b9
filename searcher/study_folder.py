"""Where the files of a study are, and whether a folder belongs to the question that is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bhvit.errors import InvalidInput
from searcher.checkpoint_files import PARENT_MARK
from searcher.files import read_json, write_text
from searcher.model_section import KEY_OF
from searcher.records import Evaluation, TrialRecord, read_records
from searcher.schema import from_mapping
from searcher.space import Space, load_space


@dataclass(frozen=True)
class StudyFolder:
    """`runs/<study>/` with space.yaml, study.db, lock, events.jsonl and trials/NNNN-<candidate>/."""

    path: Path

    @property
    def space_file(self) -> Path:
        """The space as the study was last run with, every default written out."""
        return self.path / "space.yaml"

    @property
    def database(self) -> Path:
        """Optuna's SQLite file, where no server mirrors the study; only the coordinator writes it."""
        return self.path / "study.db"

    @property
    def storage_file(self) -> Path:
        """Which server mirrors the study, where it is not `database`."""
        return self.path / "storage.json"

    @property
    def lock(self) -> Path:
        """The file whose lock the coordinator holds."""
        return self.path / "lock"

    @property
    def events(self) -> Path:
        """Everything that happened, one JSON object a line."""
        return self.path / "events.jsonl"

    @property
    def trials(self) -> Path:
        """The folder of the trials' folders."""
        return self.path / "trials"

    def trial(self, record: TrialRecord) -> Path:
        """Folder of one trial."""
        return self.trials / record.name

    def begun_parent(self, record: TrialRecord) -> str | None:
        """Key of the FP parent that the trial began to train, whatever came of it; None where it found one."""
        mark = self.trial(record) / PARENT_MARK
        try:
            key = json.loads(mark.read_text(encoding="utf-8"))["key"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return key if isinstance(key, str) else None

    def test_file(self, record: TrialRecord) -> Path:
        """Where the trial's accuracy on the test split is kept."""
        return self.trial(record) / "test.json"

    def test_result(self, record: TrialRecord) -> Evaluation | None:
        """The trial's accuracy on the test split; None where it has not been read."""
        path = self.test_file(record)
        return from_mapping(Evaluation, read_json(path), str(path)) if path.exists() else None

    def records(self) -> list[TrialRecord]:
        """Every trial's record, by number."""
        return read_records(self.path)

    def space(self) -> Space:
        """The study's space; raises `InvalidInput` where the folder holds no study."""
        if not self.space_file.exists():
            raise InvalidInput(f"{self.path} must be the folder of a study, but it has no {self.space_file.name}.")
        return load_space(self.space_file)

    def prepare(self) -> None:
        """Make the folder; raises `InvalidInput` where it exists and holds something else than a study."""
        if self.path.exists() and not self.path.is_dir():
            raise InvalidInput(f"{self.path} must be a folder for the study, but it is a file; use another name.")
        others = [p.name for p in self.path.iterdir()] if self.path.exists() else []
        if not self.space_file.exists() and not set(others) <= {self.lock.name}:
            raise InvalidInput(
                f"{self.path} must be new or hold a study, but it holds {sorted(others)[0]} and no "
                f"{self.space_file.name}; use another folder."
            )
        self.path.mkdir(parents=True, exist_ok=True)

    def claim(self, space: Space) -> None:
        """Store `space` here, unless the folder is another question's (`Space.question`): then `InvalidInput`.

        Budget, number of trials, workers, processes, pruner, start-up and enqueued points may change between runs.
        Where no trial has begun, any space replaces the stored one.
        """
        stored = self.require_same(space)
        if stored is None or stored.file != space.file:
            write_text(self.space_file, space.to_yaml())

    def stored_space(self) -> Space | None:
        """The space that the study was last run with; None where no trial has begun."""
        return self.space() if self.space_file.exists() and self._begun else None

    def require_same(self, space: Space) -> Space | None:
        """The stored space, or None where no trial has begun; `InvalidInput` where it is another question's."""
        stored = self.stored_space()
        if stored is None:
            return None
        changes = _other_models(stored, space) or list(_differences(stored.question, space.question))
        if changes:
            raise InvalidInput(
                f"{self.path} holds the study of another space: {'; '.join(changes[:3])}"
                f"{f' and {len(changes) - 3} more' if len(changes) > 3 else ''}; use another folder for this one."
            )
        return stored

    @property
    def _begun(self) -> bool:
        """Whether the folder holds anything that depends on its space."""
        return self.database.exists() or (self.trials.is_dir() and any(self.trials.iterdir()))


def _other_models(stored: Space, asked: Space) -> list[str]:
    """That the models of a space that has several are others; their details would say no more."""
    there, here = (", ".join(model.label or model.family for model in space.models) for space in (stored, asked))
    several = stored.mixed or asked.mixed
    return [f"the models are {there} there, {here} here"] if several and there != here else []


def _differences(stored: Any, asked: Any, where: str = "") -> Iterator[str]:
    """Where two pieces of plain data differ, as `place is x there, y here`; places are those of a space file."""
    if isinstance(stored, dict) and isinstance(asked, dict):
        for key in sorted(stored.keys() | asked.keys()):
            name = KEY_OF.get(key, key)
            yield from _differences(stored.get(key), asked.get(key), f"{where}.{name}" if where else name)
    elif stored != asked:
        yield f"{where} is {stored} there, {asked} here"
