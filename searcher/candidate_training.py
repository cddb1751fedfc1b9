"""The two phases of a candidate: what each trains, on what, from which weights and with which teacher."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from bhvit.checkpoint import load_weights
from bhvit.families import family_named
from bhvit.family_model import FamilyModel
from searcher.candidate import Candidate
from searcher.checkpoints import TrainingState
from searcher.datasets.batches import EvaluationImages, TrainingBatches
from searcher.datasets.images import ImageStore
from searcher.datasets.listing import ImageList, Listing
from searcher.datasets.on_device import DeviceImages
from searcher.devices import memory_exhaustion_named, peak_bytes
from searcher.parents import Parent, parent_key
from searcher.randomness import derive_seed, global_generators_restored, seed_everything
from searcher.ranks import ALONE, Ranks
from searcher.recipe import NO_TEACHER, PARENT_TEACHER, DataConfig, TrainingRecipe, digest
from searcher.records import EpochRecord
from searcher.teachers import frozen, teacher_from_file
from searcher.training import Objective, PhaseImages, PhaseRun, Progress, Report, train_phase
from searcher.warm_start import warm_start


class CandidateTraining:
    """Both phases of one candidate on `device`, alone or as one of the processes `ranks`.

    `report` and `progress` are as in `searcher.training.train_phase`.
    """

    def __init__(
        self,
        candidate: Candidate,
        recipe: TrainingRecipe,
        data: DataConfig,
        seed: int,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        self.candidate, self.recipe, self.data, self.seed = candidate, recipe, data, seed
        self.device, self.ranks = device, ranks
        self.listing = data.list_images()
        self.listing.require_classes(candidate.architecture.num_classes)
        self.parent_key = parent_key(candidate, recipe, self.listing, seed)

    @property
    def peak_bytes(self) -> float:
        """The most memory that this training has held at once (`searcher.devices.peak_bytes`)."""
        return peak_bytes(self.device)

    def train_parent(self, folder: Path, report: Report, progress: Progress | None) -> TrainingState:
        """Phase 1, from random weights."""
        with memory_exhaustion_named(self.device, "preparing phase fp"):
            model, images = self.model(self.candidate.parent), self.images("fp")
            objective = Objective(None if self.recipe.teacher_file is None else self.file_teacher())
        run = PhaseRun("fp", self.recipe.fp, self.recipe, self.seed, self.parent_key, folder, self.device, self.ranks)

        def reported(record: EpochRecord) -> bool:
            report(record)
            return False

        return train_phase(model, run, images, objective, reported, progress)

    def train_from(self, parent: Parent, folder: Path, report: Report, progress: Progress | None) -> TrainingState:
        """Phase 2, from the parent's best weights."""
        with memory_exhaustion_named(self.device, "preparing phase qat"):
            parent_model = self.parent_model(parent)
            model, images = self.model(self.candidate), self.images("qat")
            warm_start(model, parent_model)
            objective = Objective(self.teacher(parent_model), self.regularizer(model))
        key = digest(
            {"candidate": self.candidate.to_json(), "recipe": self.recipe.meaning_json(), "parent": parent.key}
        )
        run = PhaseRun("qat", self.recipe.qat, self.recipe, self.seed, key, folder, self.device, self.ranks)
        return train_phase(model, run, images, objective, report, progress)

    def parent_model(self, parent: Parent) -> FamilyModel:
        """The full-precision model with the parent's best weights."""
        model = self.model(self.candidate.parent)
        load_weights(model, parent.weights)
        return model

    def model(self, candidate: Candidate) -> FamilyModel:
        """The candidate's model with its initial weights, which depend on the seed alone."""
        with global_generators_restored():
            seed_everything(derive_seed(self.seed, "initial weights"))
            return build_candidate(candidate, self.recipe).to(self.device)

    def images(self, phase: str) -> PhaseImages:
        """Training batches of the phase, and the validation images."""
        size = self.candidate.architecture.image_size
        return phase_images(self.listing, self.data, self.recipe, size, (self.seed, phase), self.device, self.ranks)

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

    def regularizer(self, model: FamilyModel) -> Callable[[], Tensor] | None:
        """The weight regulariser, where the candidate has binary layers and the recipe gives it a weight."""
        binary = any(p.weight_bits == 1 for p in self.candidate.layers.values())
        if not binary or not self.recipe.loss.regularizer:
            return None
        return functools.partial(
            model.weight_regularizer, include_downsampling=self.recipe.loss.regularize_downsampling
        )


def phase_images(
    listing: Listing,
    data: DataConfig,
    recipe: TrainingRecipe,
    image_size: int,
    seed: tuple[int, str],
    device: torch.device,
    ranks: Ranks = ALONE,
) -> PhaseImages:
    """Training batches, as `recipe` augments them, and the validation images; `seed` is (seed, name of the phase)."""
    train = listing.split("train")
    batches = TrainingBatches(
        training_images(train, recipe, data, device, ranks),
        train.labels,
        len(listing.classes),
        image_size,
        recipe.augmentation,
        batch_size=recipe.batch_size,
        smoothing=recipe.loss.smoothing,
        seed=seed,
        workers=data.workers,
        device=device,
        ranks=ranks,
    )
    keep = data.cache and ranks.first  # the others do not validate
    return PhaseImages(batches, evaluation_images(listing.split("val"), image_size, keep), listing.classes)


def training_images(
    images: ImageList, recipe: TrainingRecipe, data: DataConfig, device: torch.device, ranks: Ranks = ALONE
) -> ImageStore | DeviceImages:
    """The decoded images, kept where the recipe augments them; those of one data set at a time."""
    return _on_device(images, device, ranks.count) if recipe.augment == "device" else _decoded(images, data.cache)


def build_candidate(candidate: Candidate, recipe: TrainingRecipe) -> FamilyModel:
    """The candidate's model, freshly initialised."""
    model: FamilyModel = family_named(candidate.family).build_model(
        candidate.architecture,
        candidate.plan,
        norm=candidate.norm,
        recu=candidate.recu,
        drop_path_rate=recipe.drop_path,
    )
    return model


@functools.lru_cache(maxsize=1)
def _decoded(images: ImageList, cache: bool) -> ImageStore:
    return ImageStore(images.items, cache)


@functools.lru_cache(maxsize=1)
def _on_device(images: ImageList, device: torch.device, processes: int) -> DeviceImages:
    return DeviceImages(images.items, device, processes)


@functools.lru_cache(maxsize=1)
def evaluation_images(images: ImageList, image_size: int, cache: bool) -> EvaluationImages:
    """The images of a split, as a model of this size is evaluated on them."""
    return EvaluationImages(ImageStore(images.items, cache=False), images.labels, image_size, keep=cache)
