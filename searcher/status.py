"""What a running search is doing now, written down by its coordinator for those who watch; no rich, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bhvit.errors import InvalidInput
from searcher.files import read_json
from searcher.lock import Holder
from searcher.schema import from_mapping

STATUS_FILE = "status.json"
QUIET_SECONDS, SILENT_SECONDS = 60.0, 300.0  # since a worker's last sign of life


@dataclass(frozen=True)
class WorkerStatus:
    """A worker and the trial it trains: its last step and last epoch.

    `epoch` and `step` count from 1 and are 0 before the first one, `step` also between two epochs; `worker` and `phase`
    are empty until the worker has said something; `epochs` is 0 where it is not known; `accuracy` (validation Top-1,
    0..1) and `loss` (training) are those of the phase's last epoch; `memory_bytes` is the peak use of the worker's
    device, or of its process on the CPU; `heard` is when it last said something, in seconds since 1970.
    """

    worker: str
    number: int
    phase: str
    epoch: int
    epochs: int
    step: int
    steps: int
    heard: float
    accuracy: float | None = None
    loss: float | None = None
    images_per_second: float | None = None
    memory_bytes: float | None = None


@dataclass(frozen=True)
class SearchStatus:
    """`status.json` of a study: `time` it was written, seconds `remaining` as far as can be told, the busy workers."""

    time: float
    remaining: float | None = None
    trouble: str = ""
    workers: tuple[WorkerStatus, ...] = ()


def read_status(study_folder: Path) -> SearchStatus | None:
    """The last status that a coordinator wrote, maybe long ago; None where there is none that can be read."""
    path = study_folder / STATUS_FILE
    try:
        return from_mapping(SearchStatus, read_json(path), str(path)) if path.exists() else None
    except InvalidInput:  # another version's: what it would show is only of the moment
        return None


def of_holder(status: SearchStatus | None, holder: Holder | None) -> SearchStatus | None:
    """The status, where it is that of the study's holder and not one that a predecessor left when it was killed."""
    return None if status is None or holder is None or status.time < holder.started else status
