"""A Gaussian process over configurations: what accuracy to expect of each of them, and how surely.

The kernel says what is known of such spaces before any training: accuracy follows the costs (linear in their
logarithms), every variable has an effect of its own (additive part), and effects depend on each other (product part).
Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006; additive kernels: Duvenaud et al., NeurIPS
2011.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from searcher.grid import Codes
from searcher.variables import Variable

PART = 2**12  # combinations of choices that are tabulated together
CHUNK = 2**13  # configurations at once: their kernel stays in the processor's cache
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class KernelSettings:
    """The constants of the prior, chosen by `benchmarks/search_quality.py`; variances relative to that of the data.

    `additive` is the share of the additive part, `cost` the variance of the part that is linear in the logarithms of
    the costs, `level` that of the mean. The marginal likelihood chooses among `lengths` (of the kernel on the ordinal
    scale from 0 to 1), `amplitudes` and `noises` (standard deviations).
    """

    additive: float = 0.5
    cost: float = 0.3
    level: float = 1.0
    lengths: tuple[float, ...] = (0.5, 1.0, 2.0)
    amplitudes: tuple[float, ...] = (1.0, 3.0)
    noises: tuple[float, ...] = (0.05, 0.15, 0.4, 0.8)


DEFAULTS = KernelSettings()


class Surrogate:
    """The posterior after trainings at `codes` (trials x variables) that cost `costs` and gave `accuracies`.

    Costs are logarithms, standardised over the space, `trials x quantities`.
    """

    def __init__(
        self,
        variables: Sequence[Variable],
        codes: Codes,
        costs: Floats,
        accuracies: Floats,
        settings: KernelSettings = DEFAULTS,
    ) -> None:
        self._variables, self._settings = variables, settings
        self._parts = _parts(variables)
        self._costs = costs * (settings.cost / costs.shape[1])
        self._mean, self._scale = float(accuracies.mean()), float(accuracies.std()) or 1e-3
        values = (accuracies - self._mean) / self._scale
        likeliest = -math.inf
        for length in settings.lengths:
            kernels = [_kernel(v, length)[:, digits] for v, digits in zip(variables, codes.T, strict=True)]
            each = [kernel[digits] for kernel, digits in zip(kernels, codes.T, strict=True)]
            shape = settings.additive * np.mean(each, axis=0) + (1 - settings.additive) * np.prod(each, axis=0)
            for amplitude, noise in itertools.product(settings.amplitudes, settings.noises):
                gram = amplitude * shape + costs @ self._costs.T + settings.level + noise**2 * np.eye(len(values))
                factor = np.linalg.cholesky(gram)
                half = np.linalg.solve(factor, values)
                likelihood = -0.5 * float(half @ half) - float(np.log(np.diag(factor)).sum())
                if likelihood > likeliest:
                    likeliest = likelihood
                    self._kernels, self._amplitude, self._factor = kernels, amplitude, factor
                    self._weights = np.linalg.solve(factor.T, half)

    def means(self, codes: Codes, costs: Floats) -> Floats:
        """Expected accuracy of each configuration."""
        settings, weights = self._settings, self._weights
        effects = [k @ weights * (self._amplitude * settings.additive / len(self._kernels)) for k in self._kernels]
        tables = self._tables(np.multiply)
        result = costs @ (self._costs.T @ weights) + settings.level * weights.sum()
        for column, effect in enumerate(effects):
            result += effect[codes[:, column]]
        for rows in _chunks(len(codes)):
            product = self._gathered(tables, codes[rows], np.multiply)
            result[rows] += product @ (self._amplitude * (1 - settings.additive) * weights)
        means: Floats = self._mean + self._scale * result
        return means

    def deviations(self, codes: Codes, costs: Floats) -> Floats:
        """Standard deviation of the accuracy of each configuration, the noise of its training not included."""
        settings = self._settings
        sums, products = self._tables(np.add), self._tables(np.multiply)
        inverse = np.linalg.inv(self._factor)
        # Of a configuration with itself: the kernels are 1.
        result = self._amplitude + (costs**2).sum(axis=1) * settings.cost / costs.shape[1] + settings.level
        for rows in _chunks(len(codes)):
            additive = self._gathered(sums, codes[rows], np.add) * (settings.additive / len(self._kernels))
            product = self._gathered(products, codes[rows], np.multiply) * (1 - settings.additive)
            kernel = self._amplitude * (additive + product) + costs[rows] @ self._costs.T + settings.level
            result[rows] -= ((kernel @ inverse.T) ** 2).sum(axis=1)
        deviations: Floats = self._scale * np.sqrt(np.maximum(result, 1e-12))
        return deviations

    def _tables(self, combine: np.ufunc) -> list[Floats]:
        """For each part the combined kernels of its variables, `combinations of choices x trials`."""
        tables = []
        for part in self._parts:
            table, *others = self._kernels[part]
            for kernel in others:
                table = combine(table[:, None, :], kernel[None, :, :]).reshape(-1, table.shape[1])
            tables.append(table)
        return tables

    def _gathered(self, tables: Sequence[Floats], codes: Codes, combine: np.ufunc) -> Floats:
        """The combined kernels of configurations and trials."""
        result: Floats | None = None
        for part, table in zip(self._parts, tables, strict=True):
            rows = table[_places(self._variables[part], codes[:, part])]
            result = rows if result is None else combine(result, rows, out=result)
        assert result is not None
        return result


def _kernel(variable: Variable, length: float) -> Floats:
    """Similarity of each two choices, on the ordinal scale from 0 to 1."""
    at = np.array(variable.positions)
    similar: Floats = np.exp(-0.5 * ((at[:, None] - at[None, :]) / length) ** 2)
    return similar


def _parts(variables: Sequence[Variable]) -> list[slice]:
    """Runs of variables with at most `PART` combinations each (or of a single variable)."""
    parts: list[slice] = []
    start, combinations = 0, 1
    for i, variable in enumerate(variables):
        if i > start and combinations * len(variable.choices) > PART:
            parts.append(slice(start, i))
            start, combinations = i, 1
        combinations *= len(variable.choices)
    return [*parts, slice(start, len(variables))]


def _places(variables: Sequence[Variable], codes: Codes) -> NDArray[np.intp]:
    """Number of each row's combination of choices among all combinations of `variables`."""
    places = np.zeros(len(codes), np.intp)
    for column, variable in enumerate(variables):
        places = places * len(variable.choices) + codes[:, column]
    return places


def _chunks(length: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, length, CHUNK))
