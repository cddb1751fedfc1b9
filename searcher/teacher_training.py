"""Fine-tuning a teacher: a timm model on a data set, by the loop that trains the candidates."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from bhvit.errors import InvalidInput
from searcher import __version__
from searcher.candidate_training import phase_images
from searcher.checkpoint_files import BEST, LAST
from searcher.checkpoints import TrainingState, peek_state, read_tensors, write_tensors
from searcher.datasets.config import DataConfig
from searcher.datasets.listing import Listing
from searcher.devices import device_named
from searcher.lock import hold
from searcher.randomness import derive_seed, global_generators_restored, seed_everything
from searcher.recipe import digest
from searcher.records import EpochRecord
from searcher.teacher_file import TeacherCard, content_digest, read_card
from searcher.teacher_recipe import TeacherRecipe
from searcher.teacher_start import Say, Start
from searcher.teachers import TimmTeacher
from searcher.training import Objective, PhaseRun, Progress, train_phase

KEY_VERSION = 1  # to be raised when the training changes its meaning
PHASE = "teacher"
UNFINISHED = ".unfinished"  # suffix of the folder that holds the training until the file is written


@dataclass(frozen=True)
class FineTuning:
    """All that a teacher's weights depend on: where it starts, images, recipe and seed."""

    start: Start
    data: DataConfig
    recipe: TeacherRecipe
    seed: int

    def key(self, listing: Listing) -> str:
        """Sixteen hexadecimal digits of a hash of it; `listing` is that of `data`."""
        return digest(
            {
                "version": KEY_VERSION,
                "model": self.start.model,
                "image_size": self.start.image_size,
                "origin": self.start.origin,
                "data": listing.fingerprint,
                "recipe": self.recipe.to_json(),
                "seed": self.seed,
            }
        )


def fine_tune(
    tuning: FineTuning,
    out: Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    say: Say,
    report: Callable[[EpochRecord], None],
    progress: Progress | None = None,
) -> TeacherCard:
    """Make the teacher file `out`, or go on where an earlier call with the same arguments ended.

    Until it is finished, the training lives in the folder `out` + `.unfinished`. `say` gets a line about what was
    found or done before the first epoch, `report` every epoch trained here. Where `out` is the same teacher already,
    it is left as it is and its card returned.
    Raises `InvalidInput` (another teacher in `out`, weights that do not fit, wrong data), `MissingData` (images or
    pretrained weights), `Diverged` or `OutOfMemory`.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    place, listing = device_named(device), tuning.data.list_images()
    key, folder = tuning.key(listing), out.with_name(out.name + UNFINISHED)
    if out.exists():
        card = _finished(out, key)
        shutil.rmtree(folder, ignore_errors=True)  # where we were stopped between the file and its tidying up
        return card
    folder.mkdir(parents=True, exist_ok=True)
    with hold(folder / "lock"):
        try:
            state = _trained(tuning, listing, key, folder, place, say, report, progress)
            return _write(out, folder / BEST, tuning, listing, state)
        finally:
            if out.exists() or not (folder / LAST).exists():
                shutil.rmtree(folder)


def _trained(
    tuning: FineTuning,
    listing: Listing,
    key: str,
    folder: Path,
    device: torch.device,
    say: Say,
    report: Callable[[EpochRecord], None],
    progress: Progress | None,
) -> TrainingState:
    done = _epochs_done(folder, key)
    recipe, classes, size = tuning.recipe.training, len(listing.classes), tuning.start.image_size
    with global_generators_restored():
        seed_everything(derive_seed(tuning.seed, "initial weights"))
        if done:  # the state has the weights
            say(f"going on after epoch {done} of {recipe.fp.epochs}")
            model = tuning.start.random(classes)
        else:
            model = tuning.start.build(classes, say)
    run = PhaseRun(PHASE, recipe.fp, recipe, tuning.seed, key, folder, device)
    images = phase_images(listing, tuning.data, recipe, size, (tuning.seed, PHASE), device)

    def reported(record: EpochRecord) -> bool:
        if record.epoch > done:
            report(record)
        return False

    return train_phase(TimmTeacher(model, None).to(device), run, images, Objective(), reported, progress)


def _finished(out: Path, key: str) -> TeacherCard:
    card = read_card(out)
    if card is None or card.key != key:
        what = "holds other weights" if card is None else f"is another one (training {card.key}, not {key})"
        raise InvalidInput(f"{out} must be absent or the same teacher, but it {what}; choose another --out.")
    return card


def _epochs_done(folder: Path, key: str) -> int:
    if not (folder / LAST).exists():
        return 0
    state = peek_state(folder / LAST)
    if state.key != key:
        raise InvalidInput(
            f"{folder} must hold training {key}, but it holds {len(state.history)} epochs of training {state.key} "
            "(other weights, images, recipe or seed); repeat the command that began it, delete the folder, or choose "
            "another --out."
        )
    return len(state.history)


def _write(out: Path, best: Path, tuning: FineTuning, listing: Listing, state: TrainingState) -> TeacherCard:
    """The weights of the best epoch under timm's names, with all that is known of them."""
    record = state.best
    assert record is not None
    card = TeacherCard(
        key=state.key,
        model=tuning.start.model,
        image_size=tuning.start.image_size,
        classes=listing.classes,
        data=listing.name,
        fingerprint=listing.fingerprint,
        recipe=tuning.recipe.to_json(),
        seed=tuning.seed,
        origin=tuning.start.origin,
        accuracy=record.accuracy,
        epoch=record.epoch,
        tool=f"bhvit-searcher {__version__}",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    prefix = "model."
    weights = {n.removeprefix(prefix): t for n, t in read_tensors(best)[0].items() if n.startswith(prefix)}
    write_tensors(out, weights, card.metadata(map(content_digest, listing.train.items)))
    return card
