"""Batches of images as tensors: augmented for training, resized and cropped once for evaluation. timm does the work.

The random numbers of training are part of what `searcher.parents.KEY_VERSION` counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.data.mixup import Mixup, mixup_target
from timm.data.random_erasing import RandomErasing
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bhvit import global_batch
from bhvit.errors import InvalidInput
from searcher.datasets.images import CACHE_BYTES, ImageStore
from searcher.datasets.on_device import DeviceCrops, DeviceImages
from searcher.datasets.transforms import evaluation_transform, training_transform
from searcher.randomness import after_restarts, derive_seed, seed_everything
from searcher.ranks import ALONE, Ranks
from searcher.recipe import Augmentation

EVAL_BATCH = 128
Sample = tuple[Tensor, int]


class Normalizer:
    """uint8 images of any range of sizes to floats with ImageNet's mean and deviation, on `device`."""

    def __init__(self, device: torch.device) -> None:
        self._mean = torch.tensor(IMAGENET_DEFAULT_MEAN, device=device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(IMAGENET_DEFAULT_STD, device=device).view(1, 3, 1, 1) * 255

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) uint8, on any device -> float32 on the normalizer's device."""
        return images.to(self._mean.device, non_blocking=True).float().sub_(self._mean).div_(self._std)


class _AugmentedImages(Dataset[Sample | InvalidInput]):
    """Training images; an item is asked for as (image index, seed of its augmentation).

    An unreadable image is returned as its error: raised in a worker process, it would arrive as a traceback's text.
    """

    def __init__(self, store: ImageStore, labels: Sequence[int], image_size: int, augmentation: Augmentation) -> None:
        self._store, self._labels = store, labels
        self._transform = training_transform(image_size, augmentation)

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, item: tuple[int, int]) -> Sample | InvalidInput:
        index, seed = item
        try:
            image = self._store[index]
        except InvalidInput as error:
            return error
        seed_everything(seed)
        return self._transform(image), self._labels[index]


class _EpochOrder:
    """Yields the batches of (image index, seed) of `epoch`, drawn by `seed`; the incomplete last batch is left out.

    Of several processes each gets its part of every batch (`bhvit.global_batch.part`).
    """

    def __init__(self, images: int, batch_size: int, seed: tuple[int | str, ...], ranks: Ranks) -> None:
        self.epoch, self.seed = 0, seed
        self._images, self._batch_size = images, batch_size
        self._part = global_batch.part(batch_size, ranks.rank, ranks.count)

    def __len__(self) -> int:
        return self._images // self._batch_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        generator = np.random.Generator(np.random.PCG64(derive_seed(*self.seed, "order", self.epoch)))
        order = [int(i) for i in generator.permutation(self._images)]
        for start in range(0, len(self) * self._batch_size, self._batch_size):
            batch = order[start : start + self._batch_size]
            mine = [i for where in self._part for i in batch[where]]
            yield [(i, derive_seed(*self.seed, "augment", self.epoch, i)) for i in mine]


class TrainingBatches:
    """Augmented, mixed training batches, a pure function of (seed, epoch): workers and restarts change nothing.

    What happens to an image depends on (seed, epoch, image), what mixes a batch on (seed, epoch, step). `seed` is the
    key of the training, such as (study seed, phase name). Every epoch leaves out the images that do not fill a batch,
    others each time. `batch_size` counts the whole batch, of which each of several `ranks` yields its part. `images`
    on a device are augmented there. Raises `InvalidInput` where the images do not fill one batch.
    """

    def __init__(
        self,
        images: ImageStore | DeviceImages,
        labels: Sequence[int],
        classes: int,
        image_size: int,
        augmentation: Augmentation,
        *,
        batch_size: int,
        smoothing: float,
        seed: tuple[int | str, ...],
        workers: int,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        if len(images) < batch_size:
            raise InvalidInput(
                f"batch_size must be at most the number of training images, but it is {batch_size} of {len(images)}; "
                f"use at most {len(images)}."
            )
        self._order = _EpochOrder(len(images), batch_size, seed, ranks)
        self._crops: Iterable[tuple[Tensor, Tensor] | InvalidInput]
        if isinstance(images, DeviceImages):
            self._crops = DeviceCrops(images, labels, image_size, augmentation, self._order)
        else:
            self._crops = DataLoader(
                _AugmentedImages(images, labels, image_size, augmentation),
                batch_sampler=self._order,
                collate_fn=_collate,
                num_workers=workers,
                persistent_workers=workers > 0,
                pin_memory=device.type == "cuda",
                generator=torch.Generator(),  # the loader draws from it at every start; the global one is untouched
            )
        self._seed, self._classes, self._smoothing, self._device = seed, classes, smoothing, device
        self._normalize = Normalizer(device)
        self._erase = _erasing(augmentation, device)
        self._mix = _mixing(augmentation, smoothing, classes)

    def __len__(self) -> int:
        return len(self._order)

    def epoch(self, epoch: int, restarts: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of images (B, 3, S, S) and target distributions (B, classes), on the device.

        A training that was begun again gives its `restarts`, and gets other batches.
        """
        seed = after_restarts(self._seed, restarts)
        self._order.epoch, self._order.seed = epoch, seed
        for step, (batch, items) in enumerate(zip(self._crops, self._order, strict=True)):
            if isinstance(batch, InvalidInput):
                raise batch
            images, labels = self._normalize(batch[0]), batch[1].to(self._device, non_blocking=True)
            if self._erase is not None:
                for image, (_, image_seed) in zip(images, items, strict=True):
                    seed_everything(derive_seed(image_seed, "erase"), self._device)
                    self._erase(image)
            seed_everything(derive_seed(*seed, "mix", epoch, step), self._device)
            if self._mix is not None:
                yield self._mix(images, labels)
            else:
                yield images, mixup_target(labels, self._classes, smoothing=self._smoothing)


class EvaluationImages:
    """Images of a split, resized by 256/224 and cropped to the centre.

    With `keep` set and where they fit, they are made once, here, and kept as uint8.
    """

    def __init__(self, store: ImageStore, labels: Sequence[int], image_size: int, keep: bool) -> None:
        self._store = store
        self._labels = torch.tensor(labels)
        self._transform = evaluation_transform(image_size)
        keeps = keep and len(store) * 3 * image_size**2 <= CACHE_BYTES
        self._pixels = self._prepared(0, len(store)) if keeps else None

    def __len__(self) -> int:
        return len(self._store)

    def batches(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of normalised images (B, 3, S, S) and labels (B), in the listing's order, on `device`."""
        normalize = Normalizer(device)
        for start in range(0, len(self), EVAL_BATCH):
            stop = min(start + EVAL_BATCH, len(self))
            pixels = self._prepared(start, stop) if self._pixels is None else self._pixels[start:stop]
            yield normalize(pixels), self._labels[start:stop].to(device)

    def _prepared(self, start: int, stop: int) -> Tensor:
        return torch.stack([self._transform(self._store[i]) for i in range(start, stop)])


def _collate(samples: list[Sample | InvalidInput]) -> tuple[Tensor, Tensor] | InvalidInput:
    readable = [s for s in samples if not isinstance(s, InvalidInput)]
    if len(readable) < len(samples):
        return next(s for s in samples if isinstance(s, InvalidInput))
    return torch.stack([image for image, _ in readable]), torch.tensor([label for _, label in readable])


def _erasing(augmentation: Augmentation, device: torch.device) -> RandomErasing | None:
    if not augmentation.random_erasing:
        return None
    return RandomErasing(augmentation.random_erasing, mode=augmentation.random_erasing_mode, device=device)


def _mixing(augmentation: Augmentation, smoothing: float, classes: int) -> Mixup | None:
    if not augmentation.mixes:
        return None
    return Mixup(
        mixup_alpha=augmentation.mixup,
        cutmix_alpha=augmentation.cutmix,
        prob=augmentation.mix_probability,
        switch_prob=augmentation.mix_switch,
        label_smoothing=smoothing,
        num_classes=classes,
    )
