"""Landscapes to search: real candidates with real costs, whose accuracies are invented, or measured by training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from tabular.table import load_table

from searcher.evidence import Digits
from searcher.feasible import FeasibleSet, feasible_set
from searcher.grid import Grid
from searcher.space import Space, parse_space

Floats = NDArray[np.float64]
PLAIN = {
    "model": {"preset": "tiny"},
    "widths": {"hidden": {"choices": [1, 1.5, 2, 2.5, 3]}, "intermediate": {"choices": [1, 2, 3, 4]}},
    "precision": {
        "default": "binary",
        "groups": [
            {"layers": "downsample*", "tie": "each", "choices": ["binary", "int8", "fp16"]},
            {"layers": "stage[23].*.attention", "tie": "stage", "choices": ["binary", "int4"]},
        ],
    },
}


@dataclass(frozen=True)
class Landscape:
    """A space under a budget; accuracies in points: the `truth` of every configuration and what a training `measured`.

    Both have one entry a configuration, by its index in the space.
    """

    space: Space
    truth: Floats
    measured: Floats

    @cached_property
    def feasible(self) -> FeasibleSet:
        """The configurations within the budget."""
        return feasible_set(self.space)

    @cached_property
    def within(self) -> NDArray[np.bool_]:
        """Which configurations are within the budget, by index."""
        mask = np.zeros(self.space.size, bool)
        mask[[self.index(tuple(code)) for code in self.feasible.codes.tolist()]] = True
        return mask

    @cached_property
    def memory_bytes(self) -> Floats:
        """Of every configuration, by index."""
        return np.concatenate([block.memory_bytes for block in Grid(self.space).blocks()])

    @cached_property
    def best(self) -> float:
        """The highest true accuracy within the budget."""
        return float(self.truth[self.within].max())

    def index(self, digits: Digits) -> int:
        """Number of a configuration."""
        return self.space.encode(self.space.choices_of(digits))


def synthetic(share: float, seed: int, noise: float = 0.3, bumps: float = 0.0) -> Landscape:
    """Widths and precisions that interact, under a budget that the given share of configurations meets.

    Width and precision help with diminishing returns, wide layers need precision less, a narrow MLP wastes a wide
    embedding, and every seed has its own random weights and interactions; `bumps` is the standard deviation of what
    every configuration has of its own, `noise` that of a training, both in points.
    """
    free = parse_space(PLAIN, "landscape")
    blocks = list(Grid(free).blocks())
    memory, operations = (np.concatenate([getattr(b, name) for b in blocks]) for name in ("memory_bytes", "ops"))
    load = np.maximum(memory / np.median(memory), operations / np.median(operations))
    limit = np.quantile(load, share)
    budget = {"memory": float(limit * np.median(memory)), "ops": float(limit * np.median(operations))}
    draw = np.random.default_rng(seed)
    truth = _accuracies(free, np.concatenate([b.codes for b in blocks]), draw)
    truth = truth + draw.normal(scale=bumps, size=len(truth)) if bumps else truth
    measured = truth + np.random.default_rng([seed, 1]).normal(scale=noise, size=len(truth))
    return Landscape(parse_space({**PLAIN, "budget": budget}, "landscape"), truth, measured)


def trained(seed: int) -> Landscape:
    """The table of really trained networks: one of its trainings is what a search measures, their mean is the truth."""
    table = load_table()
    truth, measured = np.zeros(table.space.size), np.zeros(table.space.size)
    rows = table.by_seed[table.complete_seeds[seed % len(table.complete_seeds)]]
    for digits, accuracy in table.truth.items():
        index = table.space.encode(table.space.choices_of(digits))
        truth[index], measured[index] = 100 * accuracy, 100 * rows[digits].accuracy
    return Landscape(table.space, truth, measured)


def _accuracies(space: Space, codes: NDArray[np.uint8], draw: np.random.Generator) -> Floats:
    places = np.stack([np.array(v.positions)[codes[:, i]] for i, v in enumerate(space.variables)], axis=1)
    hidden, intermediate, precisions = places[:, 0], places[:, 1], places[:, 2:]
    gain = (1 - np.exp(-2 * precisions)) @ draw.uniform(0.3, 1.5, precisions.shape[1])
    accuracy = (
        80 + draw.uniform(2, 5) * (1 - np.exp(-2 * hidden)) + draw.uniform(1, 3) * (1 - np.exp(-2 * intermediate))
    )
    accuracy += gain * (1 - draw.uniform(0.2, 0.7) * hidden) - draw.uniform(0.5, 2) * np.maximum(
        0, hidden - intermediate
    )
    pairs = draw.normal(scale=0.4, size=(places.shape[1],) * 2)
    centred = places - 0.5
    return np.asarray(accuracy + np.einsum("ni,ij,nj->n", centred, np.triu(pairs, 1), centred))
