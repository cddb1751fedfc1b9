"""Calibrating a device: random candidates are timed layer by layer, coefficients fitted, others predicted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

import numpy as np
from numpy.random import Generator

from bhvit.device_profile import DeviceProfile
from bhvit.families import DEFAULT_FAMILY, FAMILIES, family_of
from bhvit.latency import seconds_by_layer, work_by_layer
from bhvit.layer_work import WorkFunction
from bhvit.precision import PRECISIONS, Precision
from bhvit.staged import Architecture
from searcher.latency_fit import TimedWork, fit, relative_errors
from searcher.statistics import rank_correlation

Measure: TypeAlias = Callable[[Architecture, Mapping[str, Precision]], Mapping[str, float]]
"""From a candidate to the seconds of its layers, "stem" and "head" included."""

PRESET = next(iter(FAMILIES[DEFAULT_FAMILY].presets.values()))
HIDDEN, INTERMEDIATE = (1.0, 3.0), (1.0, 4.0)  # the full space of the thesis
SIZES = (224, 224, 192, 160, 96)  # sides of an image
HELD_OUT = 5  # every so many candidates one is kept for the check, more often where that makes too few
LEAST_HELD_OUT = 5  # fewer say nothing about ranks
LEAST_CANDIDATES = 15
MOST_ERROR = 0.25  # median of candidates kept from the fit, beyond which a profile predicts nothing


@dataclass(frozen=True)
class RandomCandidate:
    """A candidate of the full space: its widths, and every layer's precision."""

    architecture: Architecture
    layers: Mapping[str, Precision]


@dataclass(frozen=True)
class Timed:
    """A candidate and the seconds of each of its layers."""

    candidate: RandomCandidate
    seconds: Mapping[str, float]

    @property
    def total(self) -> float:
        """Seconds of an image."""
        return sum(self.seconds.values())


@dataclass(frozen=True)
class Calibration:
    """A fitted profile, and how well it predicts the candidates that were kept from the fit.

    `median_error` and `worst_error` are relative, of whole candidates; `layer_error` is the median over their layers;
    `rank_correlation` is None for fewer than `LEAST_HELD_OUT` of them. `seconds` is how long the calibration took,
    `others` the share of it in which other programs had the core, None where that cannot be told.
    """

    profile: DeviceProfile
    candidates: int
    checked: int
    median_error: float
    worst_error: float
    layer_error: float
    rank_correlation: float | None
    seconds: float
    others: float | None

    @property
    def usable(self) -> bool:
        """Whether the profile predicts well enough to be written."""
        return self.median_error <= MOST_ERROR


def random_candidate(rng: Generator, preset: Architecture = PRESET) -> RandomCandidate:
    """One of the full space: widths that need not be whole, alike or one a stage, any precision in any layer."""
    size = SIZES[rng.integers(len(SIZES))]
    stages = 1 if rng.random() < 0.5 else len(preset.stages)
    hidden, intermediate = (rng.uniform(*limits, stages).round(2) for limits in (HIDDEN, INTERMEDIATE))
    if rng.random() < 0.5:  # as most spaces have them; then I is often a multiple of C
        hidden, intermediate = hidden.round(), intermediate.round()
    factors = (np.resize(given, len(preset.stages)).tolist() for given in (hidden, intermediate))
    architecture = preset.with_options(image_size=size).scaled(*factors)
    binary = 1 - rng.random() ** 2  # what is searched is mostly binary
    others = rng.dirichlet(np.full(len(PRECISIONS) - 1, 0.5))  # each candidate leans towards some precisions
    drawn = rng.choice(len(PRECISIONS), len(architecture.addresses), p=[binary, *(1 - binary) * others])
    table = tuple(PRECISIONS.values())
    return RandomCandidate(architecture, dict(zip(architecture.addresses, (table[i] for i in drawn), strict=True)))


def timed_candidates(measure: Measure, seed: int, seconds: float) -> Iterator[Timed]:
    """Measure random candidates for about `seconds`, at least `LEAST_CANDIDATES`."""
    rng, start, count = np.random.default_rng(seed), time.monotonic(), 0
    while count < LEAST_CANDIDATES or time.monotonic() - start < seconds:
        candidate = random_candidate(rng)
        yield Timed(candidate, measure(candidate.architecture, candidate.layers))
        count += 1


def coefficients_of(timed: Sequence[Timed], template: DeviceProfile) -> dict[str, float]:
    """Coefficients under which the layers of `timed` take what was measured.

    A layer weighs as much as its share of its candidate's time, so that whole candidates are predicted well.
    """
    rows = []
    for one in timed:
        candidate = one.candidate
        work = cast(WorkFunction, family_of(candidate.architecture).work)
        works = work_by_layer(candidate.architecture, candidate.layers, template.instruction_set, work)
        rows += [TimedWork(works[a], s, s / one.total) for a, s in one.seconds.items()]
    return fit(rows, template.coefficients)


def predicted(one: Timed, profile: DeviceProfile) -> dict[str, float]:
    """Predicted seconds of a timed candidate's layers."""
    family = family_of(one.candidate.architecture)
    return seconds_by_layer(one.candidate.architecture, one.candidate.layers, profile, family.seconds_of)


def calibrated(timed: Sequence[Timed], template: DeviceProfile, seconds: float, others: float | None) -> Calibration:
    """Fit all but about every fifth candidate, predict those; then fit all of them, for the profile."""
    every = min(HELD_OUT, max(2, len(timed) // LEAST_HELD_OUT))
    kept = timed[every - 1 :: every]
    rest = [one for i, one in enumerate(timed) if i % every != every - 1]
    trial = replace(template, coefficients=coefficients_of(rest, template))
    rows = [(predicted(one, trial), one) for one in kept]
    totals = [sum(p.values()) for p, _ in rows], [one.total for _, one in rows]
    errors = relative_errors(*totals)
    layers = [relative_errors([p[a] for a in one.seconds], list(one.seconds.values())) for p, one in rows]
    median = float(np.median(errors))
    return Calibration(
        profile=replace(
            template,
            coefficients=coefficients_of(timed, template),
            median_error=round(median, 4),
            other_programs=None if others is None else round(others, 4),
        ),
        candidates=len(timed),
        checked=len(kept),
        median_error=median,
        worst_error=float(errors.max()),
        layer_error=float(np.median(np.concatenate(layers))),
        rank_correlation=rank_correlation(*map(np.array, totals)) if len(kept) >= LEAST_HELD_OUT else None,
        seconds=seconds,
        others=others,
    )
