"""What tests of the packed runtime run, and all that can run it here. Without torch, as all tests in this folder."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from bhvit import PRECISIONS, ArchitectureConfig, PrecisionPlan
from bhvit.runtime import native, packed_file
from bhvit.runtime.schema import Header, random_arrays

SIDES = {64: 1, 96: 3, 160: 5, 224: 7}  # image -> window


def core() -> ctypes.CDLL | None:
    """The compiled core, or None where there is none."""
    path = native.library_path()
    return None if path is None else native.load_library(path)


def runtimes() -> list[str]:
    """All that can run a packed model here: numpy, and the core's instruction sets."""
    library = core()
    return ["numpy", *(native.instruction_sets(library) if library else [])]


def random_header(seed: int) -> Header:
    """A small model of odd widths, with a precision drawn for each of its layers."""
    random = np.random.default_rng(seed)

    def one_of(*choices):
        return choices[random.integers(len(choices))]

    side = one_of(*SIDES)
    architecture = ArchitectureConfig.from_lists(
        [int(c) for c in (*random.integers(1, 13, 2) * 4, *random.integers(1, 5, 2) * 12)],
        [int(i) for i in random.integers(1, 151, 4)],
        [1, 1, 1, 1],
        [1, 1, one_of(1, 2, 3), one_of(1, 2, 4)],
        side,
        SIDES[side],
        num_classes=int(random.integers(1, 21)),
        shifts=one_of((), (3,), (5,), (3, 5)),
        downsample_form=one_of("auto", "plain", "residual"),
    )
    layers = {address: one_of(*PRECISIONS.values()) for address in architecture.addresses}
    return Header.of_plan(architecture, PrecisionPlan.of_layers(layers), norm=one_of("batch", "layer"))


def layers_of_widths(precision: str, **fields) -> Header:
    """The header of a small model of one precision at 96 pixels."""
    architecture = ArchitectureConfig.from_lists([8, 20, 24, 36], [40, 17, 100, 36], [1] * 4, [1, 1, 2, 3], 96, 3, 7)
    return Header.of_plan(architecture, PrecisionPlan.uniform(precision), **fields)


def written(path: Path, header: Header, seed: int = 0) -> Path:
    """`path`, where a model of `header` with random tensors now is."""
    packed_file.write(path, header, random_arrays(header, seed))
    return path


def photographs(side: int, count: int, seed: int = 0) -> np.ndarray:
    """Noise (count, side, side, 3), uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)
