"""What a finished trial teaches: the input of the sampler and of the rules that stop trials early; no optuna."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from searcher.records import Outcome

Digits: TypeAlias = tuple[int, ...]
"""A configuration: the index of each variable's choice (`Space.digits_of`)."""


@dataclass(frozen=True)
class TrialResult:
    """A finished trial.

    `accuracy` (0..1) is that of its best epoch, None where it failed; `curve` the validation accuracy after each epoch
    of phase 2 that was trained. Costs are in the study's accounting; `latency_seconds` is None without a device.
    `peak_bytes` is what training used at its peak where it ran out of memory.
    """

    number: int
    digits: Digits
    outcome: Outcome
    accuracy: float | None
    curve: tuple[float, ...]
    memory_bytes: float
    ops: float
    peak_bytes: float | None = None
    latency_seconds: float | None = None
