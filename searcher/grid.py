"""Costs of many configurations at once: the family's own formulas over arrays of widths, added up per variable.

A configuration costs the sum of its layers, and a layer depends on the widths and on its own precision alone. So each
precision variable has a table (widths x choices), and the costs of all combinations are outer sums of those tables.
Two things depend on the plan as a whole, and make up its `Regime`: the width in which stem and head are stored, and
whether anything is quantized. Sums equal `Candidate.cost` exactly: every term is a whole number of 1/64, or of
picoseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bhvit.cost import PICOSECONDS, WidthGrid, memory_bytes, ops
from bhvit.families import family_named
from bhvit.layer_terms import HEAD, STEM
from bhvit.precision import PRECISIONS, Precision, precision_named
from searcher.model_space import ModelSpace
from searcher.quantities import QUANTITIES
from searcher.space import Space
from searcher.variables import Kind, Variable

Codes: TypeAlias = NDArray[np.uint8]
"""`configurations x variables`: the index of each variable's choice, or `Variable.inactive`."""
Floats: TypeAlias = NDArray[np.float64]
Price: TypeAlias = tuple[Callable[[str, Precision, bool], Any], Callable[[Any, Precision], Any]]
"""What is counted of a layer (its address, precision, whether its plan quantizes), and what the count costs."""
Prices: TypeAlias = Sequence[Price]

BLOCK = 2**16  # configurations that are costed at once; bounds the memory


@dataclass(frozen=True)
class Block:
    """Costs of some configurations: `codes`, memory in bytes, OPs, and where a device is known seconds of each."""

    codes: Codes
    memory_bytes: Floats
    ops: Floats
    latency_seconds: Floats | None = None

    @classmethod
    def of(cls, codes: Codes, costs: Sequence[Floats]) -> Block:
        """From memory, OPs and perhaps picoseconds, whatever their shapes."""
        memory, operations, *rest = (cost.ravel() for cost in costs)
        return cls(codes, memory, operations, *(picoseconds / PICOSECONDS for picoseconds in rest))

    def __getitem__(self, rows: NDArray[np.bool_]) -> Block:
        latency = None if self.latency_seconds is None else self.latency_seconds[rows]
        return Block(self.codes[rows], self.memory_bytes[rows], self.ops[rows], latency)


@dataclass(frozen=True)
class Regime:
    """What a layer's cost needs to know of the plan as a whole."""

    real: Precision
    quantizes: bool


BASELINE = Regime(PRECISIONS["fp32"], False)  # every layer is fp32
HALF = Regime(PRECISIONS["fp16"], False)  # real-valued, not all of it fp32
QUANTIZED = Regime(PRECISIONS["fp16"], True)


@dataclass(frozen=True)
class Slot:
    """Layers that have their precision in common, and the precisions they can have: a variable, or the default."""

    addresses: tuple[str, ...]
    precisions: tuple[Precision, ...]

    @cached_property
    def fp32(self) -> NDArray[np.bool_]:
        """Whether each precision leaves the plan a baseline."""
        return np.array([p == PRECISIONS["fp32"] for p in self.precisions])

    @cached_property
    def quantized(self) -> NDArray[np.bool_]:
        """Whether each precision quantizes."""
        return np.array([not p.real_valued for p in self.precisions])


class Grid:
    """The cost of every configuration of a space, in blocks; model by model where it chooses among several."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.models = [ModelGrid(space, model) for model in space.models]

    def blocks(self) -> Iterator[Block]:
        """All configurations in the order of their index."""
        for place, grid in enumerate(self.models):
            for block in grid.blocks():
                yield replace(block, codes=full_codes(self.space, place, block.codes))

    def at(self, codes: Codes) -> Iterator[Block]:
        """The given configurations, in blocks."""
        if not self.space.mixed:
            yield from self.models[0].at(codes)
            return
        for start in range(0, len(codes), BLOCK):
            yield self._mixed_block(codes[start : start + BLOCK])

    def _mixed_block(self, codes: Codes) -> Block:
        """The costs of configurations of several models."""
        costs = [np.empty(len(codes)) for _ in self.space.quantities]
        for place, grid in enumerate(self.models):
            rows = codes[:, 0] == place
            for block in grid.at(own_codes(self.space, place, codes[rows])):
                for cost, name in zip(costs, self.space.quantities, strict=True):
                    cost[rows] = QUANTITIES[name].of(block)
        return Block(codes, *costs)


def full_codes(space: Space, place: int, codes: Codes) -> Codes:
    """Codes over all variables of the space, from those over the variables of its model number `place`."""
    if not space.mixed:
        return codes
    inactive = np.array([variable.inactive for variable in space.variables], np.uint8)
    full = np.tile(inactive, (len(codes), 1))
    full[:, 0] = place
    for (column, known), digits in zip(space.own_digits[place], codes.T, strict=True):
        full[:, column] = digits if known[-1] < len(known) else np.array(known, np.uint8)[digits]  # it has all up to it
    return full


def own_codes(space: Space, place: int, codes: Codes) -> Codes:
    """Codes over the variables of the model number `place`, from those over all; the inverse of `full_codes`."""
    own = np.empty((len(codes), len(space.own_digits[place])), np.uint8)
    for i, (column, known) in enumerate(space.own_digits[place]):
        digits = codes[:, column]
        own[:, i] = digits if known[-1] < len(known) else np.searchsorted(known, digits)
    return own


class ModelGrid:
    """The cost of every configuration of one model, in blocks whose codes are over the variables of the model."""

    def __init__(self, space: Space, model: ModelSpace) -> None:
        self.space, self.model = space, model
        self.accounting = space.budget.accounting
        self.radices = [len(v.choices) for v in model.variables]
        self.widths = [(i, v) for i, v in enumerate(model.variables) if v.kind is not Kind.PRECISION]
        self.slots = [_slot_of(v) for v in model.variables if v.kind is Kind.PRECISION]
        free = {a for slot in self.slots for a in slot.addresses}
        constant = tuple(a for a in model.base.addresses if a not in free)
        self.constant = Slot(constant, (precision_named(model.precision.default),)) if constant else None
        self._dims = self._dim_tables()
        self._family = family_named(model.family)

    def blocks(self) -> Iterator[Block]:
        """All configurations in the order of their index; the last variables are expanded inside a block."""
        tail = self._tail_length()
        lead_radices = self.radices[: len(self.radices) - tail]
        tail_codes = _all_codes(self.radices[len(self.radices) - tail :])
        rows = max(1, BLOCK // len(tail_codes))
        for lead in _code_chunks(lead_radices, rows):
            codes = np.hstack((np.repeat(lead, len(tail_codes), axis=0), np.tile(tail_codes, (len(lead), 1))))
            yield Block.of(codes, self._costs(lead, tail, tail_codes))

    def at(self, codes: Codes) -> Iterator[Block]:
        """The given configurations, in blocks."""
        for start in range(0, len(codes), BLOCK):
            part = codes[start : start + BLOCK]
            yield Block.of(part, self._costs(part, 0, _all_codes([])))

    def _tail_length(self) -> int:
        """How many of the last variables (precisions only) have at most a block of combinations."""
        length, combinations = 0, 1
        for radix in self.radices[::-1][: len(self.slots)]:
            combinations *= radix
            if combinations > BLOCK:
                break
            length += 1
        return length

    def _costs(self, lead: Codes, tail: int, tail_codes: Codes) -> list[Floats]:
        """Memory, OPs and perhaps picoseconds, each `lead rows x tail combinations`."""
        prices = self._prices(self._width_grid(lead))
        regimes = [r for r in (BASELINE, HALF, QUANTIZED) if self._possible(r)]
        if len(regimes) == 1:
            return self._costs_in(regimes[0], prices, lead, tail)
        all_fp32, any_quantized = self._regime_flags(lead, tail_codes)
        masks = {BASELINE: all_fp32, HALF: ~all_fp32 & ~any_quantized, QUANTIZED: any_quantized}
        costs = [np.zeros(all_fp32.shape) for _ in self.space.quantities]
        for regime in regimes:
            mask = masks[regime]
            if mask.any():
                for cost, there in zip(costs, self._costs_in(regime, prices, lead, tail), strict=True):
                    cost[mask] = there[mask]
        return costs

    def _costs_in(self, regime: Regime, prices: Prices, lead: Codes, tail: int) -> list[Floats]:
        rows = len(lead)
        sums = [np.zeros((rows, 1)) for _ in self.space.quantities]
        stem_and_head = Slot((STEM, HEAD), (regime.real,))
        for slot in filter(None, (stem_and_head, self.constant)):
            for total, table in zip(sums, self._tables(slot, regime, prices, rows), strict=True):
                total += table
        first, split = len(self.widths), len(self.slots) - tail
        for i, slot in enumerate(self.slots):
            tables = self._tables(slot, regime, prices, rows)
            if i < split:
                codes = lead[:, first + i, None].astype(np.intp)
                sums = [total + np.take_along_axis(t, codes, 1) for total, t in zip(sums, tables, strict=True)]
            else:
                sums = [
                    (total[:, :, None] + t[:, None, :]).reshape(rows, -1) for total, t in zip(sums, tables, strict=True)
                ]
        return sums

    def _prices(self, shape: WidthGrid) -> Prices:
        """What a layer costs of each quantity at widths of which there is one a row."""
        terms, accounting = self._family.layer_terms(shape, self.model.section.norm), self.accounting
        prices: list[Price] = [
            (terms, lambda layer, precision: memory_bytes(layer, precision, accounting)),
            (terms, lambda layer, precision: ops(layer, precision, accounting)),
        ]
        if self.space.device is not None and "latency" in self.space.quantities:
            seconds = self._family.seconds_of(shape, self.space.device)
            prices.append((seconds, lambda seconds, precision: np.rint(seconds * PICOSECONDS)))
        return prices

    def _tables(self, slot: Slot, regime: Regime, prices: Prices, rows: int) -> list[Floats]:
        """Memory, OPs and perhaps picoseconds of a slot's layers, each `rows x precisions`."""
        tables = [np.zeros((rows, len(slot.precisions))) for _ in prices]
        for table, (count, price) in zip(tables, prices, strict=True):
            for column, precision in enumerate(slot.precisions):
                layers = [count(address, precision, regime.quantizes) for address in slot.addresses]
                copies = Counter(map(id, layers))  # blocks of one stage share their counts
                for layer in {id(layer): layer for layer in layers}.values():
                    table[:, column] += copies[id(layer)] * price(layer, precision)
        return tables

    def _possible(self, regime: Regime) -> bool:
        """Whether some configuration is in `regime`."""
        slots = [*self.slots, *([self.constant] if self.constant else [])]
        if regime is BASELINE:
            return all(slot.fp32.any() for slot in slots)
        if regime is QUANTIZED:
            return any(slot.quantized.any() for slot in slots)
        real = all((~slot.quantized).any() for slot in slots)
        return real and any((~slot.quantized & ~slot.fp32).any() for slot in slots)

    def _regime_flags(self, lead: Codes, tail_codes: Codes) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether every layer is fp32, and whether any layer is quantized, `lead rows x tail combinations`."""
        first, split = len(self.widths), len(self.slots) - tail_codes.shape[1]
        all_fp32, any_quantized = np.ones((len(lead), 1), bool), np.zeros((len(lead), 1), bool)
        if self.constant:
            all_fp32 &= self.constant.fp32
            any_quantized |= self.constant.quantized
        for i, slot in enumerate(self.slots):
            digits = lead[:, first + i, None] if i < split else tail_codes[None, :, i - split]
            all_fp32 = all_fp32 & slot.fp32[digits]
            any_quantized = any_quantized | slot.quantized[digits]
        return all_fp32, any_quantized

    def _dim_tables(self) -> dict[tuple[Kind, int], tuple[int, NDArray[np.int64]]]:
        """(kind, stage) -> the variable that sets this width, and the width under each of its choices."""
        tables: dict[tuple[Kind, int], tuple[int, NDArray[np.int64]]] = {}
        for index, variable in self.widths:
            scaled = [self.model.base.scaled(**{str(variable.kind): float(c)}) for c in variable.choices]
            for stage in variable.stages:
                dims = [(a.embed_dims if variable.kind is Kind.HIDDEN else a.intermediate_dims)[stage] for a in scaled]
                tables[variable.kind, stage] = (index, np.array(dims, np.int64))
        return tables

    def _width_grid(self, lead: Codes) -> WidthGrid:
        """The architecture with the widths of each row."""
        base = self.model.base

        def dims(kind: Kind, fixed: Sequence[int]) -> tuple[Any, ...]:
            columns = []
            for stage, width in enumerate(fixed):
                index, table = self._dims.get((kind, stage), (0, None))
                columns.append(np.full(len(lead), width, np.int64) if table is None else table[lead[:, index]])
            return tuple(columns)

        return WidthGrid(base, dims(Kind.HIDDEN, base.embed_dims), dims(Kind.INTERMEDIATE, base.intermediate_dims))


def _slot_of(variable: Variable) -> Slot:
    return Slot(variable.addresses, tuple(precision_named(str(c)) for c in variable.choices))


def _all_codes(radices: Sequence[int]) -> Codes:
    """Every combination of digits, the last fastest; one empty row for no variables."""
    count = int(np.prod(radices, dtype=np.int64))
    return next(_code_chunks(radices, count))


def _code_chunks(radices: Sequence[int], rows: int) -> Iterator[Codes]:
    """The combinations of digits in order, `rows` at a time."""
    count = int(np.prod(radices, dtype=np.int64))
    for start in range(0, count, rows):
        index = np.arange(start, min(count, start + rows))
        codes = np.empty((len(index), len(radices)), np.uint8)
        for column in range(len(radices) - 1, -1, -1):
            index, codes[:, column] = np.divmod(index, radices[column])
        yield codes
