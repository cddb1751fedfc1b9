"""How many trials fit on a machine, against counts by hand."""

from __future__ import annotations

import pytest

from bhvit.errors import InvalidInput
from searcher.executors.placement import Placement

NODE = {"CPU": 16.0, "GPU": 2.0, "memory": 1e11}


@pytest.mark.parametrize(
    ("cpus", "gpus", "trials"),
    [
        (1, 0, 16),
        (6, 0, 2),
        (1, 1, 2),
        (1, 0.5, 4),
        (1, 0.4, 4),
        (1, 1 / 3, 6),
        (1, 0.33, 6),
        (1, 2, 1),
        (1, 3, 0),
        (4, 0.25, 4),
    ],
)
def test_trials_share_a_gpu_but_never_straddle_two(cpus: float, gpus: float, trials: int) -> None:
    assert Placement(cpus, gpus).fits(NODE) == trials


def test_a_machine_without_gpus_takes_no_trial_that_needs_one() -> None:
    assert Placement(1, 0.5).fits({"CPU": 64.0}) == 0


@pytest.mark.parametrize(
    ("cpus", "gpus", "text"),
    [
        (0, 0, "positive part of a machine"),
        (1, -1, "positive part of a machine"),
        (1, 1.5, "whole number, but they are 1.5; use --gpus-per-trial 2."),
    ],
)
def test_impossible_shares_are_refused(cpus: float, gpus: float, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        Placement(cpus, gpus)
