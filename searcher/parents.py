"""Full-precision parents: trained once per width, data set, recipe and seed, then shared by all precision plans."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from searcher.candidate import Candidate
from searcher.checkpoint_files import BEST, LAST, PARENT_MARK
from searcher.checkpoints import TrainingState, peek_state, stored_best
from searcher.datasets.listing import Listing
from searcher.files import read_json, write_json
from searcher.recipe import TrainingRecipe, digest

KEY_VERSION = 2  # to be raised when phase 1 changes its meaning, so that older parents are not found


@dataclass(frozen=True)
class Parent:
    """A trained parent: its key, weights and best validation accuracy (0..1), and its phase 1 epoch by epoch.

    `trained_here` says whether the asking trial trained it, also where that trial was interrupted meanwhile.
    """

    key: str
    weights: Path
    state: TrainingState
    trained_here: bool

    @property
    def accuracy(self) -> float:
        """Validation Top-1 (0..1) of the epoch whose weights are kept."""
        assert self.state.best is not None
        return self.state.best.accuracy


def parent_key(candidate: Candidate, recipe: TrainingRecipe, listing: Listing, seed: int) -> str:
    """Sixteen hexadecimal digits of a hash of all that phase 1 depends on.

    That is the parent's architecture and norm, the images, the recipe without what belongs to phase 2, and the seed.
    ReCU is not part of it: it acts in binary layers only.
    """
    architecture = candidate.parent.to_json()
    del architecture["recu"]
    teacher = recipe.teacher_file
    return digest(
        {
            "version": KEY_VERSION,
            "architecture": architecture,
            "data": listing.fingerprint,
            "recipe": recipe.parent_json(),
            "teacher": None if teacher is None else _content_digest(teacher),
            "seed": seed,
        }
    )


def parent_of(
    key: str, epochs: int, warm_starts: Path, trial: Path | None, train: Callable[[Path], TrainingState]
) -> Parent:
    """The parent filed under `warm_starts/key`, trained by `train(folder)` where it is absent or unfinished.

    While one process trains a parent, others that need it wait for it; one that died is continued by the next.
    `trial` is the folder of the trial that asks, if one does.
    """
    folder = warm_starts / key
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder / "lock"):
        state = peek_state(folder / LAST) if (folder / LAST).exists() else TrainingState(key)
        if state.key != key or len(state.history) < epochs or _lacks_best(folder, state):
            if trial is not None:
                write_json(trial / PARENT_MARK, {"key": key})
            state = train(folder)
    mark = None if trial is None else trial / PARENT_MARK
    trained_here = mark is not None and mark.exists() and read_json(mark) == {"key": key}
    return Parent(key, folder / BEST, state, trained_here)


def _lacks_best(folder: Path, state: TrainingState) -> bool:
    """Whether the weights of the best epoch are not on disk: a process may end between writing its two files."""
    return state.best is None or stored_best(folder / BEST) != state.best.epoch


def _content_digest(path: Path) -> str:
    if not path.is_file():
        return "absent"  # the training itself will say so
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`; the operating system frees it however the process ends."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
