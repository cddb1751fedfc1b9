"""Landscapes to judge searches on: spaces under a budget with an accuracy for every configuration.

`interacting`, `rugged` and `many` have real candidates and costs but invented accuracies: width and precision help with
diminishing returns, wide layers need precision less, a narrow MLP wastes a wide embedding, and every seed has its own
weights and interactions. `rugged` adds effects that follow no order and random interactions of three variables, and its
trainings vary by a point. `measured` is the table of `benchmarks/tabular/`, every configuration of which was trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import yaml
from numpy.typing import NDArray
from tabular.table import Table, load_table

from searcher.feasible import FeasibleSet, feasible_set
from searcher.grid import Grid
from searcher.space import Space, parse_space
from searcher.variables import Kind

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
MANY = {
    "model": {"preset": "tiny"},
    "widths": {"hidden": {"choices": [1, 1.5, 2, 3]}, "intermediate": {"choices": [1, 2, 3], "per_stage": True}},
    "precision": {
        "default": "binary",
        "groups": [
            {"layers": "downsample*", "tie": "each", "choices": ["binary", "int8", "fp16"]},
            {"layers": "stage[23].*.attention", "tie": "stage", "choices": ["binary", "int4", "int8"]},
            {"layers": "stage[01].*.mixer", "tie": "stage", "choices": ["binary", "int8"]},
        ],
    },
}


@dataclass(frozen=True)
class Landscape:
    """A space under its budget; accuracies are fractions, by the configuration's index.

    `accuracy` is the truth; `measured(index, seed)` is one training's, the same for the same seed.
    """

    space: Space
    feasible: FeasibleSet
    accuracy: Floats
    measured: Callable[[int, int], float]

    @cached_property
    def rows(self) -> NDArray[np.intp]:
        """Index of every feasible configuration."""
        radices = [len(v.choices) for v in self.space.variables]
        return np.ravel_multi_index(tuple(self.feasible.codes.T.astype(np.intp)), radices)

    @cached_property
    def log_costs(self) -> Floats:
        """Logarithms of memory and OPs of every configuration, `size x 2`."""
        return _log_costs(self.space.to_yaml())

    def excess(self, index: int) -> float:
        """Logarithm of how many times a configuration exceeds its tightest limit; at most 0 within the budget."""
        limits = [self.space.budget.memory or math.inf, self.space.budget.ops or math.inf]
        return float((self.log_costs[index] - np.log(limits)).max())


@cache
def _log_costs(text: str) -> Floats:
    blocks = list(Grid(parse_space(yaml.safe_load(text), "costs")).blocks())
    return np.log(np.concatenate([np.stack((b.memory_bytes, b.ops), axis=1) for b in blocks]))


@cache
def _table() -> Table:
    return load_table()


@cache
def _space(kind: str, share: float) -> tuple[Space, FeasibleSet]:
    """The space under a budget that the given share of its configurations meets."""
    plain = {"plain": PLAIN, "many": MANY}[kind]
    blocks = list(Grid(parse_space(plain, "landscape")).blocks())
    memory = np.concatenate([b.memory_bytes for b in blocks])
    operations = np.concatenate([b.ops for b in blocks])
    limit = np.quantile(np.maximum(memory / np.median(memory), operations / np.median(operations)), share)
    budget = {"memory": float(limit * np.median(memory)), "ops": float(limit * np.median(operations))}
    space = parse_space({**plain, "budget": budget}, "landscape")
    return space, feasible_set(space)


def synthetic(kind: str, share: float, seed: int, noise: float, rugged: bool = False) -> Landscape:
    """An invented landscape; `noise` is the standard deviation of a training in points."""
    space, feasible = _space(kind, share)
    digits = np.stack(np.unravel_index(np.arange(space.size), [len(v.choices) for v in space.variables]), axis=1)
    accuracy = invented(space, digits, np.random.default_rng(seed), rugged) / 100

    def measured(index: int, training: int) -> float:
        return float(accuracy[index] + np.random.default_rng([training, index]).normal(scale=noise / 100))

    return Landscape(space, feasible, accuracy, measured)


def table_of_trainings(free: bool = False) -> Landscape | None:
    """The measured landscape, `free` of a budget or not; None where its table is not complete.

    The truth is the mean over the seeds for which every configuration was trained; a search sees one of them.
    """
    table = _table()
    if not table.complete_seeds:
        return None
    space = parse_space({**table.space.to_plain(), "budget": {}}, "free") if free else table.space
    accuracy = np.array([table.truth[space.digits_of(space.decode(i))] for i in range(space.size)])

    def measured(index: int, training: int) -> float:
        seed = table.complete_seeds[training % len(table.complete_seeds)]
        return table.by_seed[seed][space.digits_of(space.decode(index))].accuracy

    return Landscape(space, feasible_set(space), accuracy, measured)


def invented(space: Space, digits: NDArray[np.integer], draw: np.random.Generator, rugged: bool = False) -> Floats:
    """Accuracy in points of configurations of a model, `configurations x variables`."""
    places = np.stack([np.array(v.positions)[digits[:, i]] for i, v in enumerate(space.variables)], axis=1)
    hidden, intermediate, precisions = (
        places[:, [v.kind is kind for v in space.variables]]
        for kind in (Kind.HIDDEN, Kind.INTERMEDIATE, Kind.PRECISION)
    )
    wide, inner = (each.sum(axis=1) / max(1, each.shape[1]) for each in (hidden, intermediate))
    gain = (1 - np.exp(-2 * precisions)) @ draw.uniform(0.3, 1.5, precisions.shape[1])
    accuracy = 80 + draw.uniform(2, 5) * (1 - np.exp(-2 * wide))
    weights = draw.uniform(1, 3, intermediate.shape[1]) / max(1, intermediate.shape[1])
    accuracy += (1 - np.exp(-2 * intermediate)) @ weights
    accuracy += gain * (1 - draw.uniform(0.2, 0.7) * wide) - draw.uniform(0.5, 2) * np.maximum(0, wide - inner)
    pairs = np.triu(draw.normal(scale=0.4, size=(places.shape[1],) * 2), 1)
    accuracy += np.einsum("ni,ij,nj->n", places - 0.5, pairs, places - 0.5)
    return accuracy + _rugged(space, digits, draw) if rugged else accuracy


def _rugged(space: Space, digits: NDArray[np.integer], draw: np.random.Generator) -> Floats:
    """Effects without order, and interactions of three variables with a standard deviation of a point."""
    extra = np.zeros(len(digits))
    for column, variable in enumerate(space.variables):
        extra += draw.normal(scale=0.5, size=len(variable.choices))[digits[:, column]]
    triples = [draw.choice(len(space.variables), 3, replace=False) for _ in range(2 * len(space.variables))]
    for triple in triples:
        table = draw.normal(size=[len(space.variables[i].choices) for i in triple])
        extra += table[tuple(digits[:, i] for i in triple)] / math.sqrt(len(triples))
    return extra


LANDSCAPES: dict[str, Callable[[int], Landscape | None]] = {
    "interacting": lambda seed: synthetic("plain", 0.1, seed, noise=0.3),
    "rugged": lambda seed: synthetic("plain", 0.3, seed, noise=1.0, rugged=True),
    "many": lambda seed: synthetic("many", 0.02, seed, noise=0.5),
    "measured": lambda seed: table_of_trainings(),
}
FREE: dict[str, Callable[[int], Landscape | None]] = {
    "interacting": lambda seed: synthetic("plain", 1.0, seed, noise=0.3),
    "rugged": lambda seed: synthetic("plain", 1.0, seed, noise=1.0, rugged=True),
    "measured": lambda seed: table_of_trainings(free=True),
}
"""The same without a budget, for searches with several objectives."""
