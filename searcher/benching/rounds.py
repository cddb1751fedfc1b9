"""Timing several things fairly: one run of each a round, so that whatever the machine does meets all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]
NOISY = 2.0  # a 95th percentile beyond this many medians: something else ran on the machine


@dataclass(frozen=True)
class Timing:
    """Seconds of one of several runs: median, 95th percentile, and the reference's over its own, median over rounds."""

    median: float
    p95: float
    speed: float

    @property
    def noisy(self) -> bool:
        """Whether some runs were so much slower than most that the machine was not at rest."""
        return self.p95 > NOISY * self.median


def timed_rounds(
    runs: Sequence[Callable[[], object]],
    rounds: int,
    warm_up: int = 2,
    clock: Callable[[], float] = time.perf_counter,
    on_round: Callable[[], None] = lambda: None,
) -> Seconds:
    """Seconds of every run, (rounds, runs), after `warm_up` rounds that do not count."""
    seconds = np.empty((rounds, len(runs)))
    for number in range(-warm_up, rounds):
        for place, run in enumerate(runs):
            begin = clock()
            run()
            if number >= 0:
                seconds[number, place] = clock() - begin
        on_round()
    return seconds


def timings(seconds: Seconds, reference: int) -> list[Timing]:
    """What the rounds (rounds, runs) say of each run, beside the one at place `reference`."""
    medians = np.median(seconds, axis=0)
    tails = np.quantile(seconds, 0.95, axis=0)
    speeds = np.median(seconds[:, [reference]] / seconds, axis=0)
    return [Timing(float(m), float(t), float(s)) for m, t, s in zip(medians, tails, speeds, strict=True)]
