"""Predicted seconds of every layer of a candidate on a device: counts of the runtime's work times its coefficients.

Nothing is built and torch is not imported; widths may be integers or integer arrays, as in `bhvit.cost`. Operations
mislead where milliseconds count: a binary multiply-accumulate is 13 to 15 times as fast as one of fp32, never 64 times,
and element-wise work takes a third of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, TypeVar

from bhvit.bhvit_terms import Shape
from bhvit.bhvit_work import Work, bhvit_work
from bhvit.device_profile import DeviceProfile
from bhvit.layer_terms import HEAD, STEM, Count
from bhvit.precision import Precision, any_quantized, real_width

__all__ = [
    "DeviceProfile",
    "LatencyFunction",
    "SecondsOf",
    "Work",
    "layer_seconds",
    "seconds_by_layer",
    "work_by_layer",
]


T = TypeVar("T")


class SecondsOf(Protocol):
    """Seconds of one layer of a shape."""

    def __call__(self, address: str, precision: Precision, plan_quantizes: bool) -> Count:
        """Seconds of `address` (or of "stem", "head") at `precision`, in a plan that quantizes or not."""


LatencyFunction: TypeAlias = Callable[[Any, DeviceProfile], SecondsOf]
"""From a shape (an architecture, or a grid of widths over one) and a device to the seconds of its layers."""


def seconds_by_layer(
    architecture: Any, layers: Mapping[str, Precision], profile: DeviceProfile, latency: LatencyFunction
) -> dict[str, float]:
    """Seconds of every layer of a resolved plan (address -> precision), stem first, head last; they add up."""
    seconds = _by_layer(latency(architecture, profile), layers)
    return {address: float(value) for address, value in seconds.items()}


def work_by_layer(shape: Any, layers: Mapping[str, Precision], instruction_set: str) -> dict[str, Work]:
    """What every layer of a resolved plan is made of, stem first, head last."""
    return _by_layer(bhvit_work(shape, instruction_set), layers)


def layer_seconds(shape: Shape, profile: DeviceProfile) -> SecondsOf:
    """Seconds of a BHViT's layers, one image; layers of one stage, kind and precision share one value."""
    work_of, known = bhvit_work(shape, profile.instruction_set), dict[int, tuple[Work, Count]]()

    def seconds_of(address: str, precision: Precision, plan_quantizes: bool) -> Count:
        work = work_of(address, precision, plan_quantizes)
        if id(work) not in known:
            known[id(work)] = work, sum(profile.seconds(name) * count for name, count in work.items())
        return known[id(work)][1]

    return seconds_of


def _by_layer(of: Callable[[str, Precision, bool], T], layers: Mapping[str, Precision]) -> dict[str, T]:
    quantizes, real = any_quantized(layers), real_width(layers)
    rows = {STEM: real, **layers, HEAD: real}
    return {address: of(address, precision, quantizes) for address, precision in rows.items()}
