"""Training images decoded once and kept on the device that trains, where they are cropped, resized and flipped."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import resized_crop

from bhvit.errors import InvalidInput
from searcher.datasets.images import decode, decoded_bytes
from searcher.datasets.sources import Image as ImageItem
from searcher.randomness import seed_everything
from searcher.recipe import Augmentation

MEMORY_SHARE = 0.5  # of what is free before: the model needs room too
ASPECT = (3 / 4, 4 / 3)  # range of a crop's width / height, as on the CPU
MIB = 2**20
MEMINFO = Path("/proc/meminfo")


class DeviceImages:
    """The pixels of images on `device`: `images[i]` is uint8 (3, height, width), channels last in memory.

    `processes` is how many processes do the same on this machine. Raises `InvalidInput` where the images would take
    more than `MEMORY_SHARE` of the free memory, and for an unreadable image.
    """

    def __init__(self, images: Sequence[ImageItem], device: torch.device, processes: int = 1) -> None:
        needed = sum(map(decoded_bytes, images))
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _free_memory() // processes
        if needed > MEMORY_SHARE * free:
            raise InvalidInput(
                f"augment: device needs all training images in half of the free memory of {device}, but they take "
                f"{needed / MIB:.0f} MiB and {free / MIB:.0f} MiB are free; use augment: cpu."
            )
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self._pixels = [torch.tensor(p).to(device).permute(2, 0, 1) for p in pool.map(decode, images)]

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int) -> Tensor:
        return self._pixels[index]


class DeviceCrops:
    """Batches of random crops, in the order and with the random numbers that `order` gives.

    Yields images (B, 3, S, S) uint8 on the device and labels (B) on the CPU. Crop and flip of an image are those of
    `augment: cpu` for the same seed (drawn by timm, on the CPU, so that no step waits for the device); pixels differ
    by the rounding of the antialiased resize.
    """

    def __init__(
        self,
        images: DeviceImages,
        labels: Sequence[int],
        image_size: int,
        augmentation: Augmentation,
        order: Iterable[list[tuple[int, int]]],
    ) -> None:
        self._images, self._labels, self._order = images, labels, order
        self._size, self._scale = [image_size, image_size], list(augmentation.crop_scale)
        self._flip = augmentation.horizontal_flip
        self._interpolation = InterpolationMode(augmentation.interpolation)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self._order:
            images = torch.stack([self._crop(index, seed) for index, seed in batch])
            yield images, torch.tensor([self._labels[index] for index, _ in batch])

    def _crop(self, index: int, seed: int) -> Tensor:
        seed_everything(seed)
        image = self._images[index]
        box = RandomResizedCropAndInterpolation.get_params(image, self._scale, ASPECT)
        crop = resized_crop(image, *box, self._size, self._interpolation, antialias=True)
        return crop.flip(-1) if torch.rand(1).item() < self._flip else crop


def _free_memory() -> int:
    """Bytes that programs can still get; where the system does not say, all of its memory."""
    if MEMINFO.exists():
        lines = dict(line.split(":") for line in MEMINFO.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
