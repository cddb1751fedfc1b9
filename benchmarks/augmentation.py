"""Images per second of both ways to augment: timm on PIL images (`augment: cpu`), and on the device.

    python benchmarks/augmentation.py [--device cpu] [--threads 1] [--rounds 5]

Random resized crop and flip of the demo's training images, decoded beforehand, at 96 and 224 px; a round measures every
way once, so that a disturbance meets all of them, and the median of the rounds is shown. On a machine that others use,
`--clock cpu` is the reading to compare (it counts this process alone; not for a GPU).

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from searcher.datasets.batches import TrainingBatches
from searcher.datasets.config import DataConfig
from searcher.datasets.images import ImageStore
from searcher.datasets.on_device import DeviceImages
from searcher.recipe import Augmentation

BATCH, SIZES, INTERPOLATIONS = 32, (96, 224), ("bilinear", "bicubic")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    listing = DataConfig("trashnet_mini").list_images()
    images = {"cpu": ImageStore(listing.train.items, cache=True), "device": DeviceImages(listing.train.items, device)}
    ways = {
        (size, interpolation, way): batches(store, listing.train.labels, size, interpolation, device)
        for size in SIZES
        for interpolation in INTERPOLATIONS
        for way, store in images.items()
    }
    rates: dict[tuple[int, str, str], list[float]] = {way: [] for way in ways}
    for epoch in range(options.rounds):
        for way, source in ways.items():
            rates[way].append(images_per_second(source, epoch, device, CLOCKS[options.clock]))
    print("  px  resize     augment: cpu   augment: device   (images/s)")
    figures = {}
    for size in SIZES:
        for interpolation in INTERPOLATIONS:
            cpu, there = (statistics.median(rates[size, interpolation, way]) for way in images)
            figures[f"{size} {interpolation}"] = {"cpu": round(cpu), "device": round(there)}
            print(f"{size:4d}  {interpolation:9s} {cpu:13.0f} {there:17.0f}")
    settings = {"torch": torch.__version__, "device": options.device, "threads": options.threads}
    print(json.dumps(settings | {"clock": options.clock, "batch": BATCH, "images_per_second": figures}))


def batches(store, labels, size: int, interpolation: str, device: torch.device) -> TrainingBatches:
    augmentation = Augmentation(interpolation=interpolation)
    options = {"batch_size": BATCH, "smoothing": 0.1, "seed": (0, "fp"), "workers": 0, "device": device}
    return TrainingBatches(store, labels, 6, size, augmentation, **options)


def images_per_second(source: TrainingBatches, epoch: int, device: torch.device, clock) -> float:
    start = clock()
    count = sum(len(pixels) for pixels, _ in source.epoch(epoch))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return count / (clock() - start)


if __name__ == "__main__":
    main()
