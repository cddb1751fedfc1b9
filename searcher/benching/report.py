"""One benchmark: every file's time, memory, size and accuracy, and how they compare with the reference's."""

from __future__ import annotations

import mmap
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from searcher.benching.accuracy import TestImages, top1
from searcher.benching.contestants import Contestant, names
from searcher.benching.fresh_process import peak_bytes
from searcher.benching.models import OpenModel, Pixels, open_model
from searcher.benching.rounds import Timing, timed_rounds, timings

WARM_UP = 3  # rounds
NOISE_SEED = 0  # of the pixels of the timed image


@dataclass(frozen=True)
class Measurement:
    """What was measured of one file; `accuracy` is None where there were no test images."""

    name: str
    model: OpenModel
    timing: Timing
    file_bytes: int
    peak_bytes: int
    accuracy: float | None


@dataclass(frozen=True)
class BenchReport:
    """All of them, in the order asked for; `rows[reference]` is what the others are compared with."""

    processor: str
    cores: int
    threads: int
    rounds: int
    images: TestImages | None
    reference: int
    rows: tuple[Measurement, ...]

    @property
    def noisy(self) -> bool:
        """Whether the times of some file are."""
        return any(row.timing.noisy for row in self.rows)


def steps_of(contestants: Sequence[Contestant], rounds: int, images: TestImages | None) -> int:
    """How often `bench` says that it has come further."""
    return WARM_UP + rounds + len(contestants) + (len(images.images) if images else 0)


def bench(
    contestants: Sequence[Contestant],
    reference: int,
    rounds: int,
    images: TestImages | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> BenchReport:
    """Open all files, time them in turns, count right answers, and measure the memory of each in a fresh process.

    Raises `InvalidInput` where one of them cannot be run, or has other classes than the images, before anything is
    measured.
    """
    models = [open_model(c) for c in contestants]
    if images is not None:
        for model in models:
            images.labels_of(model)
    pixels = {model.image_size: noise(model.image_size) for model in models}
    runs = [_run(model, pixels[model.image_size]) for model in models]
    measured = timings(timed_rounds(runs, rounds, WARM_UP, on_round=on_step), reference)
    shares = [None] * len(models) if images is None else top1(models, images, on_step)
    rows = []
    called = names([c.path for c in contestants], [m.instruction_set for m in models])
    for name, model, timing, share in zip(called, models, measured, shares, strict=True):
        path = model.contestant.path
        rows.append(Measurement(name, model, timing, path.stat().st_size, peak_bytes(model.contestant), share))
        on_step()
    return BenchReport(
        processor=processor_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=contestants[0].threads,
        rounds=rounds,
        images=images,
        reference=reference,
        rows=tuple(rows),
    )


def usual_reference(contestants: Sequence[Contestant]) -> int:
    """The place of what others are compared with: the first ONNX file without quantized weights, else the first."""
    return next((i for i, c in enumerate(contestants) if not c.packed and not _quantized(c.path)), 0)


def _quantized(path: Path) -> bool:
    with path.open("rb") as file:
        if not path.stat().st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(b"DequantizeLinear") >= 0  # the name of the operator stands in the graph as it is


def _run(model: OpenModel, pixels: Pixels) -> Callable[[], object]:
    image = model.prepare(pixels)
    return lambda: model.run(image)


def noise(size: int) -> Pixels:
    """An image of random pixels (size, size, 3), always the same."""
    return np.random.default_rng(NOISE_SEED).integers(0, 256, (size, size, 3), np.uint8)


def processor_name() -> str:
    """The processor as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
