"""How long a plan takes on a device: a few real training steps of each of its models, timed and scaled up."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from searcher.candidate import Candidate
from searcher.candidate_training import build_candidate, training_images
from searcher.datasets.batches import TrainingBatches
from searcher.datasets.listing import ImageList, Listing
from searcher.devices import memory_exhaustion_named, mixed_precision
from searcher.losses import combined_loss, loss_shares
from searcher.randomness import global_generators_restored, seed_everything
from searcher.recipe import PARENT_TEACHER, DataConfig, TrainingRecipe
from searcher.teachers import frozen, teacher_from_file
from searcher.training import adamw

FIRST_BATCH = 2  # a model that is slow with it is timed with it; a small one's images cost less in a full batch
PATIENCE = 5.0  # seconds that the timed steps of a model may take on the CPU
FORWARD_SHARE = 1 / 3  # of a training step's time: an image of the validation split is only passed forward
WARM_UP_STEPS, TIMED_STEPS = 1, 2


@dataclass(frozen=True)
class Work:
    """Epochs left to train: phase 1 of a candidate's parent, and phase 2 of itself."""

    candidate: Candidate
    fp_epochs: int
    qat_epochs: int

    @property
    def parts(self) -> Iterator[tuple[str, Candidate, int]]:
        """Phase, the model that it trains and its epochs, where there are any."""
        for phase, model, epochs in (
            ("fp", self.candidate.parent, self.fp_epochs),
            ("qat", self.candidate, self.qat_epochs),
        ):
            if epochs:
                yield phase, model, epochs


@dataclass(frozen=True)
class Pace:
    """Seconds a training image by (phase, id of the model) on one device."""

    seconds: Mapping[tuple[str, str], float]

    def of(self, work: Work, train_images: int, val_images: int) -> float:
        """Seconds that `work` takes with its validation after every epoch."""
        images = train_images + FORWARD_SHARE * val_images
        return sum(epochs * images * self.seconds[phase, model.id] for phase, model, epochs in work.parts)


def measure_pace(
    works: Sequence[Work],
    recipe: TrainingRecipe,
    data: DataConfig,
    listing: Listing | None,
    device: torch.device,
    announce: Callable[[int, int], None],
) -> Pace:
    """Time every distinct model of `works`; `announce(how-manieth, of how many)` is called before each.

    Batches are those of a training, augmentation included, of the first few of `listing`; without one noise is used
    and loading is left out. On the CPU slow models are timed with small batches. Raises `OutOfMemory` where a model
    does not fit.
    """
    small = dataclasses.replace(recipe, batch_size=min(FIRST_BATCH, recipe.batch_size))
    distinct = {(phase, model.id): (phase, model) for work in works for phase, model, _ in work.parts}
    seconds = {}
    with global_generators_restored():
        for i, (key, (phase, model)) in enumerate(distinct.items(), 1):
            announce(i, len(distinct))
            with memory_exhaustion_named(device, f"timing phase {phase}"):
                each = 0.0
                if device.type == "cpu":
                    each = _seconds_an_image(phase, model, small, data, listing, device)
                if each * recipe.batch_size * (WARM_UP_STEPS + TIMED_STEPS) <= PATIENCE:
                    each = _seconds_an_image(phase, model, recipe, data, listing, device)
                seconds[key] = each
    return Pace(seconds)


def _seconds_an_image(
    phase: str,
    candidate: Candidate,
    recipe: TrainingRecipe,
    data: DataConfig,
    listing: Listing | None,
    device: torch.device,
) -> float:
    seed_everything(0, device)
    model = build_candidate(candidate, recipe).to(device).train()
    teacher = _teacher(phase, candidate, recipe, listing, device)
    optimizer = adamw(model, recipe.fp if phase == "fp" else recipe.qat, recipe)
    shares = loss_shares(recipe.loss, epoch=0, epochs=2, distils=teacher is not None, regularizes=False)
    start, steps = 0.0, 0
    for step, (pixels, targets) in enumerate(_batches(candidate, recipe, data, listing, device)):
        with mixed_precision(device, recipe.amp):
            with torch.no_grad():
                taught = teacher(pixels) if teacher is not None and shares.distillation else None
            logits = model(pixels)
        loss = combined_loss(shares, logits, targets, taught)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()  # waits for a GPU
        if step + 1 == WARM_UP_STEPS:
            start = time.perf_counter()
        steps = step + 1
        if steps > WARM_UP_STEPS and time.perf_counter() - start > PATIENCE:
            break
    return (time.perf_counter() - start) / (steps - WARM_UP_STEPS) / recipe.batch_size


def _batches(
    candidate: Candidate, recipe: TrainingRecipe, data: DataConfig, listing: Listing | None, device: torch.device
) -> Iterable[tuple[Tensor, Tensor]]:
    steps, size = WARM_UP_STEPS + TIMED_STEPS, recipe.batch_size
    side, classes = candidate.architecture.image_size, candidate.architecture.num_classes
    if listing is None:
        noise = torch.randn(size, 3, side, side, device=device)
        return [(noise, torch.full((size, classes), 1 / classes, device=device))] * steps
    images = listing.split("train")
    wanted = (steps * size + len(images) - 1) // len(images)  # repeated where the data set is that small
    some = ImageList((images.items * wanted)[: steps * size], (images.labels * wanted)[: steps * size])
    batches = TrainingBatches(
        training_images(some, recipe, data, device),
        some.labels,
        classes,
        side,
        recipe.augmentation,
        batch_size=size,
        smoothing=recipe.loss.smoothing,
        seed=(0, "timing"),
        workers=data.workers,
        device=device,
    )
    for _ in batches.epoch(0):  # decodes the images, once in a training too
        pass
    return batches.epoch(1)


def _teacher(
    phase: str, candidate: Candidate, recipe: TrainingRecipe, listing: Listing | None, device: torch.device
) -> nn.Module | None:
    if recipe.teacher_file is not None and listing is not None:
        return teacher_from_file(recipe, listing, candidate.architecture.image_size, device)
    if recipe.teacher == PARENT_TEACHER and phase == "qat":
        return frozen(build_candidate(candidate.parent, recipe), device)
    return None
