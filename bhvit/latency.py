"""Predicted seconds of every layer of a candidate on a device: counts of the runtime's work times its coefficients.

Nothing is built and torch is not imported; widths may be integers or integer arrays, as in `bhvit.cost`. Operations
mislead where milliseconds count: a binary multiply-accumulate is 13 to 15 times as fast as one of fp32, never 64 times,
and element-wise work takes a third of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, TypeVar

from bhvit.architecture import MIXER_GROUPS, PATCH
from bhvit.bhvit_terms import Shape
from bhvit.device_profile import DeviceProfile, load_device
from bhvit.layer_terms import HEAD, STEM, Count
from bhvit.precision import Precision, any_quantized, real_width

__all__ = [
    "DeviceProfile",
    "LatencyFunction",
    "SecondsOf",
    "layer_seconds",
    "load_device",
    "seconds_by_layer",
    "work_by_layer",
]

PANEL = 16  # output columns that are computed together
MIXER_BRANCHES = 3
TILES = {"avx512": 32, "avx2": 16, "neon": 8, "scalar": 16, "numpy": 1}
"""Instruction set -> tokens that are computed together."""
T = TypeVar("T")
Work: TypeAlias = Mapping[str, Count]
"""Name of a coefficient -> how often it counts."""


class SecondsOf(Protocol):
    """Seconds of one layer of a shape."""

    def __call__(self, address: str, precision: Precision, plan_quantizes: bool) -> Count:
        """Seconds of `address` (or of "stem", "head") at `precision`, in a plan that quantizes or not."""


LatencyFunction: TypeAlias = Callable[[Any, DeviceProfile], SecondsOf]
"""From a shape (an architecture, or a grid of widths over one) and a device to the seconds of its layers."""


class WorkOf(Protocol):
    """The work of one layer of a shape."""

    def __call__(self, address: str, precision: Precision, plan_quantizes: bool) -> Work:
        """`Work` of `address` (or of "stem", "head") at `precision`, in a plan that quantizes or not."""


def seconds_by_layer(
    architecture: Any, layers: Mapping[str, Precision], profile: DeviceProfile, latency: LatencyFunction
) -> dict[str, float]:
    """Seconds of every layer of a resolved plan (address -> precision), stem first, head last; they add up."""
    seconds = _by_layer(latency(architecture, profile), layers)
    return {address: float(value) for address, value in seconds.items()}


def work_by_layer(shape: Shape, layers: Mapping[str, Precision], instruction_set: str) -> dict[str, Work]:
    """What every layer of a resolved plan is made of, stem first, head last."""
    return _by_layer(layer_work(shape, instruction_set), layers)


def layer_seconds(shape: Shape, profile: DeviceProfile) -> SecondsOf:
    """Seconds of a BHViT's layers, one image; layers of one stage, kind and precision share one value."""
    work_of, known = layer_work(shape, profile.instruction_set), dict[int, tuple[Work, Count]]()

    def seconds_of(address: str, precision: Precision, plan_quantizes: bool) -> Count:
        work = work_of(address, precision, plan_quantizes)
        if id(work) not in known:
            known[id(work)] = work, sum(profile.seconds(name) * count for name, count in work.items())
        return known[id(work)][1]

    return seconds_of


def layer_work(shape: Shape, instruction_set: str) -> WorkOf:
    """The work of a BHViT's layers, one image; layers of one stage, kind and precision share one mapping."""
    known: dict[tuple[str, str, bool], Work] = {}
    tile = TILES[instruction_set]

    def work_of(address: str, precision: Precision, plan_quantizes: bool) -> Work:
        key = (_kind_of(address), precision.name, plan_quantizes)
        if key not in known:
            known[key] = _work(shape, address, precision, plan_quantizes, tile)
        return known[key]

    return work_of


def _by_layer(of: Callable[[str, Precision, bool], T], layers: Mapping[str, Precision]) -> dict[str, T]:
    quantizes, real = any_quantized(layers), real_width(layers)
    rows = {STEM: real, **layers, HEAD: real}
    return {address: of(address, precision, quantizes) for address, precision in rows.items()}


def _kind_of(address: str) -> str:
    """The address without its block, since blocks of a stage are alike: `stage2.mlp`."""
    return ".".join(part for part in address.split(".") if not part.startswith("block"))


def _work(s: Shape, address: str, p: Precision, plan_quantizes: bool, tile: int) -> Work:
    """How much work of each kind a layer is."""
    if address == STEM:
        c, tokens = s.embed_dims[0], s.resolutions[0] ** 2
        return {"fp32_mac_ps": tokens * 3 * PATCH * PATCH * c, "element_ns": tokens * c}
    if address == HEAD:
        c, tokens = s.embed_dims[-1], s.resolutions[-1] ** 2
        return {"fp32_mac_ps": c * s.num_classes, "element_ns": tokens * c / 4}
    if address.startswith("downsample"):
        return _downsample(s, int(address[len("downsample") :]), p, plan_quantizes)
    kind, stage = address[address.rindex(".") + 1 :], int(address[len("stage") : address.index(".")])
    return {"mixer": _mixer, "attention": _attention, "mlp": _mlp}[kind](s, stage, p)


def _product(p: Precision, outputs: Count, inputs: Count) -> dict[str, Count]:
    """A product with `outputs` accumulators of `inputs` multiply-accumulates each."""
    if p.name == "binary":
        return {"binary_mac_ps": outputs * inputs, "binary_output_ns": outputs}
    return {f"{p.name}_mac_ps": outputs * inputs}


def _downsample(s: Shape, stage: int, p: Precision, plan_quantizes: bool) -> Work:
    c, wide, tokens = s.embed_dims[stage - 1], s.embed_dims[stage], s.resolutions[stage] ** 2
    residual = s.form_of_downsample(p.real_valued, plan_quantizes) == "residual"
    return {**_product(p, tokens * wide, 4 * c), "element_ns": tokens * (4 * c + wide * (2 if residual else 1))}


def _mixer(s: Shape, stage: int, p: Precision) -> Work:
    c, tokens = s.embed_dims[stage], s.resolutions[stage] ** 2
    product = _product(p, MIXER_BRANCHES * tokens * c, 9 * (c // MIXER_GROUPS))
    return {**product, "element_ns": tokens * c * (MIXER_BRANCHES + 1)}


def _attention(s: Shape, stage: int, p: Precision) -> Work:
    c, heads, tokens = s.embed_dims[stage], s.num_heads[stage], s.resolutions[stage] ** 2
    windows = (s.resolutions[stage] // s.window_size) ** 2
    keys = s.window_size**2 + windows
    rows = windows * keys
    work = _product(p, (3 * rows + tokens) * c, c)
    products = "fp32_mac_ps" if p.real_valued else "attention_mac_ps"
    work[products] = work.get(products, 0) + 2 * rows * keys * c
    return {**work, "element_ns": rows * c * 5 + tokens * c * 3 + rows * heads * keys}


def _mlp(s: Shape, stage: int, p: Precision) -> Work:
    c, i, tokens = s.embed_dims[stage], s.intermediate_dims[stage], s.resolutions[stage] ** 2
    work = _product(p, tokens * i, c)
    for name, count in _product(p, tokens * c, i).items():
        work[name] += count
    return {**work, "element_ns": tokens * (i + 4 * c)}
