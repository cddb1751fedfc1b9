"""Run by `test_training.py` as a process of its own, to be killed: phase `fp` of a small network."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from torch import nn

from searcher.checkpoints import TrainingState
from searcher.datasets.batches import EvaluationImages, TrainingBatches
from searcher.datasets.config import DataConfig
from searcher.datasets.images import ImageStore
from searcher.randomness import seed_everything
from searcher.training import Objective, PhaseImages, PhaseRun, Progress, Report, train_phase
from tests.searcher.tiny_images import small_recipe

SIZE, SEED = 32, 5


def network() -> nn.Module:
    """Has all that a resume can lose: running statistics, random dropout, decayed and undecayed parameters."""
    seed_everything(SEED)
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(512, 3)
    )


def images(root: Path, workers: int = 0, name: str = "fp", **changes: object) -> PhaseImages:
    listing = DataConfig("image_folder", str(root)).list_images()
    recipe = small_recipe(**changes)
    train = TrainingBatches(
        ImageStore(listing.train.items, cache=True),
        listing.train.labels,
        3,
        SIZE,
        recipe.augmentation,
        batch_size=recipe.batch_size,
        smoothing=recipe.loss.smoothing,
        seed=(SEED, name),
        workers=workers,
        device=torch.device("cpu"),
    )
    val = EvaluationImages(ImageStore(listing.val.items, cache=False), listing.val.labels, SIZE, keep=True)
    return PhaseImages(train, val, listing.classes)


def phase_run(directory: Path, name: str = "fp", key: str = "key", **changes: object) -> PhaseRun:
    recipe = small_recipe(**changes)
    phase = recipe.fp if name == "fp" else recipe.qat
    return PhaseRun(name, phase, recipe, SEED, key, directory, torch.device("cpu"))


def train(
    root: Path,
    directory: Path,
    report: Report = lambda record: False,
    name: str = "fp",
    key: str = "key",
    progress: Progress | None = None,
    **changes: object,
) -> TrainingState:
    run = phase_run(directory, name, key, **changes)
    return train_phase(network(), run, images(root, name=name, **changes), Objective(), report, progress)


def main(root: Path, directory: Path, sleep_at: str) -> None:
    torch.set_num_threads(1)

    def announce(name: str, epoch: int, step: int, steps: int) -> None:
        if f"{epoch}.{step}" == sleep_at:
            print("asleep", flush=True)
            time.sleep(600)

    train(root, directory, progress=announce)
    print("complete", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
