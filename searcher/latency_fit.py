"""Coefficients of a device from timed layers: non-negative least squares on relative errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bhvit.device_profile import COEFFICIENTS, unit_of
from bhvit.latency import Work

Floats: TypeAlias = NDArray[np.float64]

REWEIGHTINGS = 10  # rounds in which layers that fit badly lose weight
TOLERANCE = 0.1  # relative error up to which a layer has its full weight


class TimedWork(NamedTuple):
    """What a layer is made of, and the seconds it took; `weight` of its relative error."""

    work: Work
    seconds: float
    weight: float = 1.0


def fit(rows: Sequence[TimedWork], otherwise: Mapping[str, float]) -> dict[str, float]:
    """The coefficients under which the relative errors of `rows` are smallest, in their own units.

    Errors beyond `TOLERANCE` count linearly (Huber), so that a layer that was disturbed by other programs does not
    bend the rest. Coefficients that no row has anything of are taken from `otherwise`.
    """
    names = [name for name in COEFFICIENTS if any(row.work.get(name, 0) for row in rows)]
    seconds = np.array([row.seconds for row in rows])
    matrix = np.array([[row.work.get(n, 0) * unit_of(n) for n in names] for row in rows]) / seconds[:, None]
    weights = np.array([row.weight for row in rows])
    values, robust = np.zeros(len(names)), np.ones(len(rows))
    for _ in range(REWEIGHTINGS):
        root = np.sqrt(weights * robust)
        values = nnls(matrix * root[:, None], root)
        robust = TOLERANCE / np.maximum(np.abs(matrix @ values - 1), TOLERANCE)
    found = dict(zip(names, values.tolist(), strict=True))
    return {name: found.get(name, otherwise[name]) for name in COEFFICIENTS}


def nnls(matrix: Floats, target: Floats) -> Floats:
    """The x >= 0 with the least |matrix x - target| (Lawson and Hanson 1974, algorithm NNLS).

    `matrix` is rows x columns; columns are scaled to unit length first, which their units need.
    """
    norms = np.linalg.norm(matrix, axis=0)
    norms[norms == 0] = 1
    a = matrix / norms
    x, free = np.zeros(a.shape[1]), np.zeros(a.shape[1], bool)
    gradient = a.T @ target
    tolerance = 1e-10 * max(1.0, float(np.abs(gradient).max(initial=0)))
    for _ in range(10 * len(x)):
        if free.all() or gradient[~free].max(initial=0) <= tolerance:
            break
        free[np.argmax(np.where(free, -np.inf, gradient))] = True
        x = _settled(a, target, x, free)
        gradient = a.T @ (target - a @ x)
    return np.asarray(x / norms)


def _settled(a: Floats, target: Floats, x: Floats, free: NDArray[np.bool_]) -> Floats:
    """Least squares over the `free` columns, of which those that would turn negative are bound to 0 again."""
    while True:
        goal = np.zeros_like(x)
        goal[free] = np.linalg.lstsq(a[:, free], target, rcond=None)[0]
        negative = free & (goal <= 0)
        if not negative.any():
            return goal
        step = np.min(x[negative] / (x[negative] - goal[negative]))
        x = x + step * (goal - x)
        free &= ~(negative & (x <= 1e-14))
        x[~free] = 0


def relative_errors(predicted: Sequence[float], measured: Sequence[float]) -> Floats:
    """|predicted / measured - 1| of each."""
    return np.asarray(np.abs(np.asarray(predicted) / np.asarray(measured) - 1))
