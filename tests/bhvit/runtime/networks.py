"""What tests of the packed runtime run, and all that can run it here. Without torch, as all tests in this folder."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bhvit import PRECISIONS, ArchitectureConfig, PrecisionPlan
from bhvit.binaryvit.architecture import BinaryViTConfig
from bhvit.runtime import native, packed_file
from bhvit.runtime.families import PACKED_FAMILIES
from bhvit.runtime.schema import Header, random_arrays

FAMILIES = tuple(PACKED_FAMILIES)
SIDES = {64: 1, 96: 3, 160: 5, 224: 7}  # image -> window
MOST_SEEN = 14  # side of the map that every token sees


def core() -> ctypes.CDLL | None:
    """The compiled core, or None where there is none."""
    path = native.library_path()
    return None if path is None else native.load_library(path)


def runtimes() -> list[str]:
    """All that can run a packed model here: numpy, and the core's instruction sets."""
    library = core()
    return ["numpy", *(native.instruction_sets(library) if library else [])]


def random_header(seed: int, family: str = "bhvit") -> Header:
    """A small model of odd widths, with a precision drawn for each of its layers."""
    random = np.random.default_rng(seed)

    def one_of(*choices):
        return choices[random.integers(len(choices))]

    architecture = _RANDOM[family](random, one_of)
    layers = {address: one_of(*PRECISIONS.values()) for address in architecture.addresses}
    return Header.of_plan(architecture, PrecisionPlan.of_layers(layers), norm=one_of("batch", "layer"))


def _random_bhvit(random: np.random.Generator, one_of: Callable[..., Any]) -> ArchitectureConfig:
    side = one_of(*SIDES)
    return ArchitectureConfig.from_lists(
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


def _random_binaryvit(random: np.random.Generator, one_of: Callable[..., Any]) -> BinaryViTConfig:
    image_size, heads = int(one_of(*SIDES)), [int(h) for h in random.integers(1, 4, 4)]
    sides = [image_size // 4 // 2**i for i in range(4)]
    return BinaryViTConfig.from_lists(
        [int(c) * h for c, h in zip(random.integers(1, 40, 4), heads, strict=True)],
        [int(i) for i in random.integers(1, 151, 4)],
        [1, 1, 1, 1],
        heads,
        image_size,
        num_classes=int(random.integers(1, 21)),
        reductions=[one_of(*(r for r in range(1, 15) if side % r == 0 and side // r <= MOST_SEEN)) for side in sides],
        pools=one_of((), (3,), (5,), (3, 5)),
        layer_scale=bool(one_of(True, False)),
        downsample_form=one_of("auto", "plain", "residual"),
    )


_RANDOM = {"bhvit": _random_bhvit, "binaryvit": _random_binaryvit}


def layers_of_widths(precision: str, family: str = "bhvit", **fields) -> Header:
    """The header of a small model of one precision at 96 pixels."""
    lists = [8, 20, 24, 36], [40, 17, 100, 36], [1] * 4, [1, 1, 2, 3]
    architecture = {
        "bhvit": ArchitectureConfig.from_lists(*lists, 96, 3, 7),
        "binaryvit": BinaryViTConfig.from_lists(*lists, 96, 7, reductions=(4, 2, 1, 1)),
    }[family]
    return Header.of_plan(architecture, PrecisionPlan.uniform(precision), **fields)


def written(path: Path, header: Header, seed: int = 0) -> Path:
    """`path`, where a model of `header` with random tensors now is."""
    packed_file.write(path, header, random_arrays(header, seed))
    return path


def photographs(side: int, count: int, seed: int = 0) -> np.ndarray:
    """Noise (count, side, side, 3), uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)
