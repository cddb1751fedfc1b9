"""The acquisition of TPE over an explicit list of configurations: how much likelier a good trial is there than a bad.

TPE (Bergstra et al., NeurIPS 2011) splits the trials into good and bad, fits a density to each and prefers where
l(x) / g(x) is largest. Optuna draws some candidates from l and takes the best of them; here the configurations are few
enough to score each one. Densities are multivariate: a trial contributes one product kernel over all variables, so
that interactions between widths and precisions are kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from searcher.grid import Codes
from searcher.variables import Variable

CHUNK = 2**13  # configurations scored at once: their factors stay in the processor's cache
PART = 2**10  # combinations of choices that are tabulated together
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class ParzenSettings:
    """The constants of the acquisition, chosen by `benchmarks/search_quality.py`.

    `good_share` of the trials (at least one, at most `most_good`) are good. A kernel's width on the ordinal scale from
    0 to 1 is `bandwidth` * n^(-1 / (d + 4)) for n trials and d variables, never below `least_spacing` of the spacing
    of the variable's choices. `prior` is the weight of the uniform distribution, in trials.
    """

    good_share: float = 0.2
    most_good: int = 25
    bandwidth: float = 0.7
    least_spacing: float = 0.4
    prior: float = 1.0


DEFAULTS = ParzenSettings()


def good_count(trials: int, settings: ParzenSettings = DEFAULTS) -> int:
    """How many of `trials` finished trials count as good."""
    return min(settings.most_good, math.ceil(settings.good_share * trials))


def acquisition(
    variables: Sequence[Variable],
    codes: Codes,
    good: Codes,
    bad: Codes,
    settings: ParzenSettings = DEFAULTS,
) -> Floats:
    """Logarithm of l(x) / g(x) for each row of `codes`.

    `good` and `bad` are the digits of the trials that l and g are fitted to, `trials x variables`.
    """
    parts = _parts(variables)
    below, above = (_tables(variables, parts, trials, settings) for trials in (good, bad))
    scores = np.zeros(len(codes))
    for start in range(0, len(codes), CHUNK):
        chunk = codes[start : start + CHUNK]
        places = [_places(variables[part], chunk[:, part]) for part in parts]
        ratio = _mixture(below, places, settings) / _mixture(above, places, settings)
        scores[start : start + CHUNK] = np.log(ratio)
    return scores


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


def _tables(
    variables: Sequence[Variable], parts: Sequence[slice], trials: Codes, settings: ParzenSettings
) -> list[Floats]:
    """For each part the product of its variables' kernels, `combinations x (trials + 1)`; the last is the prior.

    Densities are relative to the uniform one, so that products over many variables stay in range.
    """
    width = settings.bandwidth * max(1, len(trials)) ** (-1 / (len(variables) + 4))
    tables = []
    for part in parts:
        table = np.ones((1, len(trials) + 1))
        for variable, digits in zip(variables[part], trials.T[part], strict=True):
            kernel = _kernel(variable, width, settings)[:, digits] * len(variable.choices)
            kernel = np.hstack((kernel, np.ones((len(kernel), 1))))
            table = (table[:, None, :] * kernel[None, :, :]).reshape(-1, table.shape[1])
        tables.append(table)
    return tables


def _kernel(variable: Variable, width: float, settings: ParzenSettings) -> Floats:
    """Probability of each choice (row) around each choice (column): a Gaussian on the ordinal scale, normalised."""
    at = np.array(variable.positions)
    if len(at) == 1:
        return np.ones((1, 1))
    sigma = max(width, settings.least_spacing / (len(at) - 1))
    kernel = np.exp(-0.5 * ((at[:, None] - at[None, :]) / sigma) ** 2) + 1e-6
    normalised: Floats = kernel / kernel.sum(axis=0)
    return normalised


def _mixture(tables: Sequence[Floats], places: Sequence[NDArray[np.intp]], settings: ParzenSettings) -> Floats:
    """Weighted mean of the kernels at each configuration, relative to the uniform density."""
    product = tables[0][places[0]]
    for table, place in zip(tables[1:], places[1:], strict=True):
        product *= table[place]
    weights = np.ones(product.shape[1])
    weights[-1] = settings.prior
    mean: Floats = product @ (weights / weights.sum())
    return mean
