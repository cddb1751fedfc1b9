"""A Gaussian process over configurations: what the trained ones say about the accuracy of all the others.

The prior believes that accuracy is a sum of an effect of every variable, of interactions of all of them, and of slopes
along the logarithms of memory and OPs. Nearby choices (in width or in bits) have similar effects; models are as far
apart as the ends of a scale, and a variable that a model lacks is in the middle of its own. Besides, each model has a
level of its own: how much worse one is says nothing of widths and precisions (`benchmarks/mixed_search.py`). Everything
is fixed but the overall scale, which is integrated out, and the noise of a training, which the trials choose: on a few
dozen trials, fitted weights and lengths search no better (`benchmarks/search_quality.py`). Rasmussen and Williams,
Gaussian Processes for Machine Learning (2006), chapters 2 and 5; additive kernels: Duvenaud et al., NeurIPS 2011.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from searcher.grid import Codes, Floats
from searcher.variables import Kind, Variable

ADDITIVE, INTERACTION, SLOPES, LEVEL = 1.0, 0.5, 1.0, 4.0  # prior variances: effects, interactions, slopes, constant
MODELS = 8.0  # prior variance of each model's own level, where a space chooses among several
NOISES = (0.01, 0.03, 0.1, 0.3, 1.0)  # variances of a training's noise, in the same unit
TYPICAL_NOISE, NOISE_SPREAD = 0.1, 1.5  # median, and standard deviation of the logarithm, of the prior over them
TRIALS_OF_SCALE = 2  # the prior on the scale is worth that many trials
CHUNK = 2**13  # configurations at once: their factors stay in the processor's cache
PART = 2**10  # combinations of choices that are tabulated together
PartTables: TypeAlias = "Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]"


@dataclass(frozen=True)
class Points:
    """Configurations as the process sees them: digits, `n x variables`, and scaled log costs, `n x 2`."""

    codes: Codes
    log_costs: Floats

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Points:
        return Points(self.codes[rows], self.log_costs[rows])

    def joined(self, other: Points) -> Points:
        """These and then the other ones."""
        return Points(np.concatenate((self.codes, other.codes)), np.concatenate((self.log_costs, other.log_costs)))


class GaussianProcess:
    """The process, given `values` (zero mean, unit variance) measured at `trained`.

    `pending` configurations will be measured, too: they make their surroundings more certain, not better or worse, so
    that parallel proposals spread.
    """

    def __init__(self, variables: Sequence[Variable], trained: Points, values: Floats, pending: Points) -> None:
        self._variables, self._parts = variables, _parts(variables)
        self._tables = [_correlations(v) for v in variables]
        self._models = len(variables[0].choices) if variables and variables[0].kind is Kind.MODEL else 0
        eigenvalues, vectors = self._spectrum(trained)
        noise, self._scale = _noise_and_scale(eigenvalues, vectors.T @ values)
        self._weights = (vectors @ ((vectors.T @ values) / (eigenvalues + noise))).astype(np.float32)
        self._seen = trained
        if len(pending):
            self._seen = trained.joined(pending)
            eigenvalues, vectors = self._spectrum(self._seen)
        self._root = (vectors / np.sqrt(eigenvalues + noise)).astype(np.float32)
        self._seen_tables = self._part_tables(self._seen)

    def predict(self, points: Points) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the accuracy (without a training's noise) at each of `points`."""
        mean, variance = np.empty(len(points)), np.empty(len(points))
        for start in range(0, len(points), CHUNK):
            part = slice(start, start + CHUNK)
            covariance = self._covariance(points[part], self._seen, self._seen_tables)
            mean[part] = covariance[:, : len(self._weights)] @ self._weights
            explained = covariance @ self._root
            slopes = SLOPES / 2 * (points.log_costs[part] ** 2).sum(axis=1)
            own = ADDITIVE + INTERACTION + LEVEL + (MODELS if self._models else 0.0) + slopes
            variance[part] = own - np.einsum("ij,ij->i", explained, explained)
        return mean, np.sqrt(self._scale * np.maximum(variance, 1e-6))

    def _spectrum(self, points: Points) -> tuple[Floats, Floats]:
        """Eigenvalues and eigenvectors of the covariance of `points`."""
        covariance = self._covariance(points, points, self._part_tables(points))
        eigenvalues, vectors = np.linalg.eigh(covariance.astype(np.float64))
        return np.maximum(eigenvalues, 0), vectors

    def _covariance(self, rows: Points, columns: Points, tables: PartTables) -> NDArray[np.float32]:
        """Prior covariance, `rows x columns`, in units of the scale; a part of the variables at a time.

        `tables` are those of the columns.
        """
        product = np.ones((len(rows), len(columns)), np.float32)
        total = np.zeros_like(product)
        for part, (products, sums) in zip(self._parts, tables, strict=True):
            places = _places(self._variables[part], rows.codes[:, part])
            product *= products[places]
            total += sums[places]
        slopes = (rows.log_costs @ columns.log_costs.T).astype(np.float32)
        covariance: NDArray[np.float32] = (
            ADDITIVE / max(1, len(self._variables)) * total + INTERACTION * product + SLOPES / 2 * slopes + LEVEL
        )
        if self._models:
            levels = MODELS * np.eye(self._models, dtype=np.float32)[:, columns.codes[:, 0]]
            covariance += levels[rows.codes[:, 0]]
        return covariance

    def _part_tables(self, columns: Points) -> PartTables:
        """For each part, product and sum of the variables' correlations for every combination of their choices."""
        return [self._part_table(part, columns) for part in self._parts]

    def _part_table(self, part: slice, columns: Points) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Both for one part, each `combinations x columns`."""
        product, total = np.ones((1, len(columns)), np.float32), np.zeros((1, len(columns)), np.float32)
        for table, digits in zip(self._tables[part], columns.codes.T[part], strict=True):
            factor, shape = table[:, digits], (len(product) * len(table), len(columns))
            product, total = (product[:, None] * factor).reshape(shape), (total[:, None] + factor).reshape(shape)
        return product, total


def _correlations(variable: Variable) -> NDArray[np.float32]:
    """Prior correlation of a variable's effects, `digits x digits`: Matern 5/2 over its ordinal scale from 0 to 1.

    Any two choices that have no order are as far apart as the ends of that scale.
    """
    at = np.array(variable.places)
    apart = np.abs(at[:, None] - at[None, :]) if variable.ordinal else 1.0 - np.eye(len(at))
    distance = np.sqrt(5) * apart
    correlations: NDArray[np.float32] = ((1 + distance + distance**2 / 3) * np.exp(-distance)).astype(np.float32)
    return correlations


def _noise_and_scale(eigenvalues: Floats, rotated: Floats) -> tuple[float, float]:
    """The likeliest noise among `NOISES`, and the scale that goes with it, from values in the eigenvectors' basis."""
    trials = len(rotated) + TRIALS_OF_SCALE
    best, chosen = -np.inf, (0.0, 0.0)
    for noise in NOISES:
        spectrum = eigenvalues + noise
        scale = (float((rotated**2 / spectrum).sum()) + TRIALS_OF_SCALE) / trials
        prior = -0.5 * (np.log(noise / TYPICAL_NOISE) / NOISE_SPREAD) ** 2
        evidence = prior - 0.5 * (trials * np.log(scale) + np.log(spectrum).sum())
        if evidence > best:
            best, chosen = evidence, (noise, scale)
    return chosen


def _parts(variables: Sequence[Variable]) -> list[slice]:
    """Runs of variables with at most `PART` combinations each (or of a single variable)."""
    parts: list[slice] = []
    start, combinations = 0, 1
    for i, variable in enumerate(variables):
        if i > start and combinations * variable.radix > PART:
            parts.append(slice(start, i))
            start, combinations = i, 1
        combinations *= variable.radix
    return [*parts, slice(start, len(variables))]


def _places(variables: Sequence[Variable], codes: Codes) -> NDArray[np.intp]:
    """Number of each row's combination of choices among all combinations of `variables`."""
    places = np.zeros(len(codes), np.intp)
    for column, variable in enumerate(variables):
        places = places * variable.radix + codes[:, column]
    return places
