"""temporary"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from searcher.records import TrialRecord
from searcher.space import Space
from searcher.study_folder import StudyFolder


class StudyMirror:
    trouble: str | None = None

    def bring_up_to_date(self, records: Sequence[TrialRecord]) -> None: ...
    def begin(self, record: TrialRecord) -> None: ...
    def report(self, number: int, epoch: int, accuracy: float) -> None: ...
    def finish(self, record: TrialRecord) -> None: ...


@contextlib.contextmanager
def open_mirror(folder: StudyFolder, space: Space, storage: str | None) -> Iterator[StudyMirror]:
    yield StudyMirror()
