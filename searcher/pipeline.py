"""From a candidate to its accuracy: full-precision phase (shared), warm start, quantization-aware phase."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from bhvit.checkpoint import load_weights, round_to_stored_precision
from bhvit.model import BHViT, weight_regularizer
from searcher.candidate import Candidate
from searcher.checkpoints import TrainingState
from searcher.datasets.batches import EvaluationImages, TrainingBatches
from searcher.datasets.images import ImageStore
from searcher.datasets.listing import ImageList, Listing
from searcher.devices import device_named, memory_exhaustion_named
from searcher.evaluation import evaluate
from searcher.families import family_named
from searcher.parents import Parent, parent_key, parent_of
from searcher.randomness import derive_seed, global_generators_restored, seed_everything
from searcher.recipe import NO_TEACHER, PARENT_TEACHER, DataConfig, TrainingRecipe, digest
from searcher.records import EpochRecord, Evaluation, Metrics
from searcher.teachers import frozen, teacher_from_file
from searcher.training import Objective, PhaseImages, PhaseRun, Progress, Report, train_phase
from searcher.warm_start import warm_start


def train_candidate(
    candidate: Candidate,
    recipe: TrainingRecipe,
    data: DataConfig,
    *,
    directory: Path,
    warm_starts: Path,
    seed: int,
    device: str = "auto",
    threads: int | None = None,
    report: Report,
    progress: Progress | None = None,
) -> Metrics:
    """Train `candidate` by both phases, or go on where an earlier call with the same arguments ended.

    `directory` gets the checkpoints of phase 2, `warm_starts` those of the parent, which is trained at most once.
    `report` gets every epoch of the phases trained here; its true ends phase 2 (phase 1 is never cut short, others
    may need the parent). A full-precision candidate has the same two phases, so that effort is equal. `threads` is the
    number of CPU threads (none: torch's default).
    Raises `InvalidInput`, `MissingData`, `Diverged` or `OutOfMemory`.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    job = _Job(candidate, recipe, data, seed, device)
    parent = parent_of(
        job.parent_key,
        recipe.fp.epochs,
        warm_starts,
        directory,
        lambda folder: job.train_parent(folder, report, progress),
    )
    state = job.train_from(parent, directory, report, progress)
    best = state.best
    assert best is not None
    epochs = (parent.state.history if parent.trained_here else ()) + state.history
    return Metrics(
        accuracy=best.accuracy,
        final_accuracy=state.history[-1].accuracy,
        best_epoch=best.epoch,
        parent_key=parent.key,
        parent_accuracy=parent.accuracy,
        parent_trained=parent.trained_here,
        epochs=epochs,
        seconds=sum(record.seconds for record in epochs),
    )


def evaluate_candidate(
    candidate: Candidate,
    recipe: TrainingRecipe,
    data: DataConfig,
    weights: Path,
    split: str = "test",
    device: str = "auto",
) -> Evaluation:
    """Accuracy of stored weights on a split, with fp16 layers rounded to half precision, as they are deployed.

    The search never calls this for `test`. Raises `InvalidInput` where the weights are not the candidate's.
    """
    place = device_named(device)
    listing = data.list_images()
    listing.require_classes(candidate.architecture.num_classes)
    model = _build(candidate, recipe)
    load_weights(model, weights)
    round_to_stored_precision(model)
    with memory_exhaustion_named(place, f"evaluating {split}"):
        images = _evaluation_images(listing.split(split), candidate.architecture.image_size, data.cache)
        return evaluate(model.to(place), images.batches(place), listing.classes, split, place, recipe.amp)


def phase_images(
    listing: Listing,
    data: DataConfig,
    recipe: TrainingRecipe,
    image_size: int,
    seed: tuple[int, str],
    device: torch.device,
) -> PhaseImages:
    """Training batches, as `recipe` augments them, and the validation images; `seed` is (seed, name of the phase)."""
    train = TrainingBatches(
        _decoded(listing.split("train"), data.cache),
        listing.train.labels,
        len(listing.classes),
        image_size,
        recipe.augmentation,
        batch_size=recipe.batch_size,
        smoothing=recipe.loss.smoothing,
        seed=seed,
        workers=data.workers,
        device=device,
    )
    val = _evaluation_images(listing.split("val"), image_size, data.cache)
    return PhaseImages(train, val, listing.classes)


class _Job:
    """One call of `train_candidate`: what both phases share."""

    def __init__(self, candidate: Candidate, recipe: TrainingRecipe, data: DataConfig, seed: int, device: str) -> None:
        self.candidate, self.recipe, self.data, self.seed = candidate, recipe, data, seed
        self.device = device_named(device)
        self.listing = data.list_images()
        self.listing.require_classes(candidate.architecture.num_classes)
        self.parent_key = parent_key(candidate, recipe, self.listing, seed)

    def train_parent(self, folder: Path, report: Report, progress: Progress | None) -> TrainingState:
        """Phase 1, from random weights."""
        model = self.model(self.candidate.parent)
        objective = Objective(None if self.recipe.teacher_file is None else self.file_teacher())
        run = PhaseRun("fp", self.recipe.fp, self.recipe, self.seed, self.parent_key, folder, self.device)

        def reported(record: EpochRecord) -> bool:
            report(record)
            return False

        return train_phase(model, run, self.images("fp"), objective, reported, progress)

    def train_from(self, parent: Parent, folder: Path, report: Report, progress: Progress | None) -> TrainingState:
        """Phase 2, from the parent's best weights."""
        parent_model = self.model(self.candidate.parent)
        load_weights(parent_model, parent.weights)
        model = self.model(self.candidate)
        warm_start(model, parent_model)
        key = digest({"candidate": self.candidate.to_json(), "recipe": self.recipe.to_json(), "parent": parent.key})
        run = PhaseRun("qat", self.recipe.qat, self.recipe, self.seed, key, folder, self.device)
        objective = Objective(self.teacher(parent_model), self.regularizer(model))
        return train_phase(model, run, self.images("qat"), objective, report, progress)

    def model(self, candidate: Candidate) -> BHViT:
        """The candidate's model with its initial weights, which depend on the seed alone."""
        with global_generators_restored():
            seed_everything(derive_seed(self.seed, "initial weights"))
            return _build(candidate, self.recipe).to(self.device)

    def images(self, phase: str) -> PhaseImages:
        """Training batches of the phase, and the validation images."""
        size = self.candidate.architecture.image_size
        return phase_images(self.listing, self.data, self.recipe, size, (self.seed, phase), self.device)

    def teacher(self, parent_model: nn.Module) -> nn.Module | None:
        """The teacher of phase 2."""
        if self.recipe.teacher == NO_TEACHER:
            return None
        if self.recipe.teacher == PARENT_TEACHER:
            return frozen(parent_model, self.device)
        return self.file_teacher()

    def file_teacher(self) -> nn.Module:
        """The timm teacher that the recipe names."""
        return teacher_from_file(self.recipe, self.listing, self.candidate.architecture.image_size, self.device)

    def regularizer(self, model: BHViT) -> Callable[[], Tensor] | None:
        """The weight regulariser, where the candidate has binary layers and the recipe gives it a weight."""
        binary = any(p.weight_bits == 1 for p in self.candidate.layers.values())
        if not binary or not self.recipe.loss.regularizer:
            return None
        return functools.partial(
            weight_regularizer, model, include_downsampling=self.recipe.loss.regularize_downsampling
        )


def _build(candidate: Candidate, recipe: TrainingRecipe) -> BHViT:
    model: BHViT = family_named(candidate.family).build_model(
        candidate.architecture,
        candidate.plan,
        norm=candidate.norm,
        recu=candidate.recu,
        drop_path_rate=recipe.drop_path,
    )
    return model


# One data set at a time stays decoded between the candidates of a search.
@functools.lru_cache(maxsize=1)
def _decoded(images: ImageList, cache: bool) -> ImageStore:
    return ImageStore(images.items, cache)


@functools.lru_cache(maxsize=1)
def _evaluation_images(images: ImageList, image_size: int, cache: bool) -> EvaluationImages:
    return EvaluationImages(ImageStore(images.items, cache=False), images.labels, image_size, keep=cache)
