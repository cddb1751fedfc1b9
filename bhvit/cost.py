"""What a candidate costs, in closed form: a few multiplications a layer, no network built, no torch imported.

A family's terms function counts each layer (`bhvit.layer_terms`); this module prices the counts under a precision and
adds them up. Widths may be integers (one candidate) or integer arrays (a grid of widths at once, `WidthGrid`): the
formulas are the same. Conventions, units and deliberate differences from the publications: `docs/conventions.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bhvit.errors import unknown_name
from bhvit.layer_terms import AUXILIARY_BYTES, HEAD, STEM, Count, LayerTerms, TermsFunction
from bhvit.precision import PRECISIONS, Precision, any_quantized, ops_per_mac, real_width
from bhvit.staged import Architecture

ACCOUNTINGS = ("reported", "complete")
PICOSECONDS = 10**12  # in a second; layers are priced in whole ones, so that sums of many are exact in any order


@dataclass(frozen=True)
class WidthGrid:
    """An architecture whose widths are arrays, one entry a combination: what the terms functions see of a space."""

    architecture: Architecture
    embed_dims: tuple[Count, ...]
    intermediate_dims: tuple[Count, ...]

    def __getattr__(self, name: str) -> object:
        """Everything that is not a width is the architecture's."""
        return getattr(self.architecture, name)


@dataclass(frozen=True)
class LayerCost:
    """One layer's counts priced at its precision, in the `accounting` asked for.

    `picoseconds` is its predicted latency, a whole number, None where no device is given.
    """

    address: str
    precision: Precision
    terms: LayerTerms
    accounting: str
    picoseconds: int | None = None

    @property
    def latency_seconds(self) -> float | None:
        """Predicted latency, None where no device is given."""
        return None if self.picoseconds is None else self.picoseconds / PICOSECONDS

    @property
    def macs(self) -> int:
        """Multiply-accumulates, those of the attention products included."""
        return int(self.terms.macs + self.terms.score_macs + self.terms.context_macs)

    @property
    def parameters(self) -> int:
        """Parameters of the layer in the instantiated model."""
        return int(self.terms.weights + self.terms.auxiliary)

    @property
    def weight_bytes(self) -> float:
        """Bytes of the packed convolution and linear weights."""
        return float(weight_bytes(self.terms, self.precision))

    @property
    def complete_bytes(self) -> float:
        """Bytes of everything that is stored."""
        return float(complete_bytes(self.terms, self.precision))

    @property
    def memory_bytes(self) -> float:
        """The bytes that the accounting counts."""
        return self.weight_bytes if self.accounting == "reported" else self.complete_bytes

    @property
    def ops(self) -> float:
        """Operations in the accounting."""
        return float(ops(self.terms, self.precision, self.accounting))


@dataclass(frozen=True)
class Cost:
    """Cost of a model or of a part of it, batch 1; adds, and scales by a whole number of copies.

    `ops` and `memory_bytes` follow the accounting; `weight_bytes` are the packed weights alone, `complete_bytes`
    everything that is stored; `peak_activation_bytes` is the largest a single layer needs (so it does not add).
    `weights` and `macs` have one entry a row of `PRECISIONS`; `picoseconds` is the predicted latency on a device, None
    where none is given.
    """

    weights: tuple[int, ...]
    macs: tuple[int, ...]
    ops: float
    weight_bytes: float
    complete_bytes: float
    memory_bytes: float
    parameters: int
    elementwise_ops: int
    peak_activation_bytes: int
    picoseconds: int | None = None

    @property
    def latency_seconds(self) -> float | None:
        """Predicted latency, None where no device is given."""
        return None if self.picoseconds is None else self.picoseconds / PICOSECONDS

    @property
    def weights_by_precision(self) -> dict[str, int]:
        """Precision name -> convolution and linear weights."""
        return dict(zip(PRECISIONS, self.weights, strict=True))

    @property
    def macs_by_precision(self) -> dict[str, int]:
        """Precision name -> multiply-accumulates."""
        return dict(zip(PRECISIONS, self.macs, strict=True))

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            tuple(a + b for a, b in zip(self.weights, other.weights, strict=True)),
            tuple(a + b for a, b in zip(self.macs, other.macs, strict=True)),
            self.ops + other.ops,
            self.weight_bytes + other.weight_bytes,
            self.complete_bytes + other.complete_bytes,
            self.memory_bytes + other.memory_bytes,
            self.parameters + other.parameters,
            self.elementwise_ops + other.elementwise_ops,
            max(self.peak_activation_bytes, other.peak_activation_bytes),
            None if self.picoseconds is None or other.picoseconds is None else self.picoseconds + other.picoseconds,
        )

    def __mul__(self, copies: int) -> Cost:
        return Cost(
            tuple(w * copies for w in self.weights),
            tuple(m * copies for m in self.macs),
            self.ops * copies,
            self.weight_bytes * copies,
            self.complete_bytes * copies,
            self.memory_bytes * copies,
            self.parameters * copies,
            self.elementwise_ops * copies,
            self.peak_activation_bytes,
            None if self.picoseconds is None else self.picoseconds * copies,
        )

    __rmul__ = __mul__


@dataclass(frozen=True)
class CostReport:
    """Costs layer by layer in forward order, stem and head included, and their total.

    The figures of the total are at hand on the report itself: `report.ops`, `report.weight_bytes`.
    """

    layers: tuple[LayerCost, ...]
    accounting: str

    @cached_property
    def total(self) -> Cost:
        """Sum over all layers."""
        copies: dict[tuple[int, Precision], int] = {}  # blocks of one stage and precision share their terms
        for row in self.layers:
            key = (id(row.terms), row.precision)
            copies[key] = copies.get(key, 0) + 1
        distinct = {(id(row.terms), row.precision): row for row in self.layers}
        weights, macs = dict.fromkeys(PRECISIONS, 0), dict.fromkeys(PRECISIONS, 0)
        operations = packed = complete = 0.0
        parameters = elementwise = 0
        times: list[Any] = [row.picoseconds for row in self.layers]
        for key, row in distinct.items():
            n, name = copies[key], row.precision.name
            weights[name] += n * row.terms.weights
            macs[name] += n * row.macs
            operations += n * row.ops
            packed += n * row.weight_bytes
            complete += n * row.complete_bytes
            parameters += n * row.parameters
            elementwise += n * row.terms.elementwise
        return Cost(
            weights=tuple(weights.values()),
            macs=tuple(macs.values()),
            ops=operations,
            weight_bytes=packed,
            complete_bytes=complete,
            memory_bytes=packed if self.accounting == "reported" else complete,
            parameters=parameters,
            elementwise_ops=elementwise,
            peak_activation_bytes=max(row.terms.activation_bytes for row in distinct.values()),
            picoseconds=None if None in times else sum(times),
        )

    @property
    def ops(self) -> float:
        """Operations of the model in the report's accounting."""
        return self.total.ops

    @property
    def weight_bytes(self) -> float:
        """Bytes of the packed convolution and linear weights."""
        return self.total.weight_bytes

    @property
    def complete_bytes(self) -> float:
        """Bytes of everything that is stored."""
        return self.total.complete_bytes

    @property
    def memory_bytes(self) -> float:
        """The bytes that the report's accounting counts."""
        return self.total.memory_bytes

    @property
    def latency_seconds(self) -> float | None:
        """Predicted latency, None where no device is given."""
        return self.total.latency_seconds

    @property
    def macs_by_precision(self) -> dict[str, int]:
        """Precision name -> multiply-accumulates."""
        return self.total.macs_by_precision


def price_layers(
    architecture: Architecture,
    layers: Mapping[str, Precision],
    terms: TermsFunction,
    accounting: str = "reported",
    norm: str = "batch",
    seconds_of: Callable[[str, Precision, bool], Count] | None = None,
) -> CostReport:
    """`bhvit.cost_of` for a resolved plan (address -> precision) and any family's terms function.

    `seconds_of` predicts the latency of each layer on a device (`bhvit.latency.SecondsOf`).
    """
    if accounting not in ACCOUNTINGS:
        raise unknown_name("accounting", accounting, ACCOUNTINGS)
    architecture.require_norm(norm)
    terms_of, quantizes, real = terms(architecture, norm), any_quantized(layers), real_width(layers)
    rows = {STEM: real, **layers, HEAD: real}

    def picoseconds(address: str, precision: Precision) -> int | None:
        return None if seconds_of is None else round(seconds_of(address, precision, quantizes) * PICOSECONDS)

    costs = (LayerCost(a, p, terms_of(a, p, quantizes), accounting, picoseconds(a, p)) for a, p in rows.items())
    return CostReport(tuple(costs), accounting)


def weight_bytes(terms: LayerTerms, precision: Precision) -> Count:
    """Bytes of the packed convolution and linear weights."""
    return terms.weights * precision.weight_bytes


def complete_bytes(terms: LayerTerms, precision: Precision) -> Count:
    """Bytes of everything that is stored: packed weights, quantized layers' weight scales, every other parameter."""
    scales = 0 if precision.real_valued else terms.scales
    return weight_bytes(terms, precision) + AUXILIARY_BYTES * (terms.auxiliary + scales)


def memory_bytes(terms: LayerTerms, precision: Precision, accounting: str) -> Count:
    """The bytes that `accounting` counts."""
    return weight_bytes(terms, precision) if accounting == "reported" else complete_bytes(terms, precision)


def ops(terms: LayerTerms, precision: Precision, accounting: str) -> Count:
    """Operations of a layer: priced MACs, and in `complete` the element-wise work and the second bit plane of A v'."""
    products = terms.macs * precision.ops_per_mac + terms.score_macs * precision.ops_per_product
    if accounting == "reported":
        return products + terms.context_macs * precision.ops_per_product
    probability_bits = terms.probability_planes if precision.takes_signs else precision.activation_bits
    context = terms.context_macs * ops_per_mac(probability_bits, precision.activation_bits)
    return products + context + terms.elementwise
