"""Costs of many configurations at once: the family's own formulas over arrays of widths, added up per variable.

A configuration costs the sum of its layers, and a layer depends on the widths and on its own precision alone. So each
precision variable has a table (widths x choices), and the costs of all combinations are outer sums of those tables.
Two things depend on the plan as a whole, and make up its `Regime`: the width in which stem and head are stored, and
whether anything is quantized. Sums equal `Candidate.cost` exactly: every term is a whole number of 1/64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bhvit.cost import WidthGrid, memory_bytes, ops
from bhvit.layer_terms import HEAD, STEM, TermsOf
from bhvit.precision import PRECISIONS, Precision, precision_named
from searcher.families import family_named
from searcher.space import Space
from searcher.variables import Kind, Variable

Codes: TypeAlias = NDArray[np.uint8]
"""`configurations x variables`: the index of each variable's choice."""
Floats: TypeAlias = NDArray[np.float64]

BLOCK = 2**16  # configurations that are costed at once; bounds the memory


@dataclass(frozen=True)
class Block:
    """Costs of some configurations: `codes`, and memory in bytes and OPs of each."""

    codes: Codes
    memory_bytes: Floats
    ops: Floats


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
    """The cost of every configuration of a space, in blocks."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.accounting = space.budget.accounting
        self.radices = [len(v.choices) for v in space.variables]
        self.widths = [(i, v) for i, v in enumerate(space.variables) if v.kind is not Kind.PRECISION]
        self.slots = [_slot_of(v) for v in space.variables if v.kind is Kind.PRECISION]
        free = {a for slot in self.slots for a in slot.addresses}
        constant = tuple(a for a in space.base.addresses if a not in free)
        self.constant = Slot(constant, (precision_named(space.file.precision.default),)) if constant else None
        self._dims = self._dim_tables()
        self._terms = family_named(space.family).layer_terms

    def blocks(self) -> Iterator[Block]:
        """All configurations in the order of their index; the last variables are expanded inside a block."""
        tail = self._tail_length()
        lead_radices = self.radices[: len(self.radices) - tail]
        tail_codes = _all_codes(self.radices[len(self.radices) - tail :])
        rows = max(1, BLOCK // len(tail_codes))
        for lead in _code_chunks(lead_radices, rows):
            memory, operations = self._costs(lead, tail, tail_codes)
            codes = np.hstack((np.repeat(lead, len(tail_codes), axis=0), np.tile(tail_codes, (len(lead), 1))))
            yield Block(codes, memory.ravel(), operations.ravel())

    def at(self, codes: Codes) -> Iterator[Block]:
        """The given configurations, in blocks."""
        for start in range(0, len(codes), BLOCK):
            part = codes[start : start + BLOCK]
            memory, operations = self._costs(part, 0, _all_codes([]))
            yield Block(part, memory.ravel(), operations.ravel())

    def _tail_length(self) -> int:
        """How many of the last variables (precisions only) have at most a block of combinations."""
        length, combinations = 0, 1
        for radix in self.radices[::-1][: len(self.slots)]:
            combinations *= radix
            if combinations > BLOCK:
                break
            length += 1
        return length

    def _costs(self, lead: Codes, tail: int, tail_codes: Codes) -> tuple[Floats, Floats]:
        """Memory and OPs, `lead rows x tail combinations`."""
        terms = self._terms(self._width_grid(lead), self.space.file.model.norm)
        regimes = [r for r in (BASELINE, HALF, QUANTIZED) if self._possible(r)]
        if len(regimes) == 1:
            return self._costs_in(regimes[0], terms, lead, tail)
        all_fp32, any_quantized = self._regime_flags(lead, tail_codes)
        masks = {BASELINE: all_fp32, HALF: ~all_fp32 & ~any_quantized, QUANTIZED: any_quantized}
        memory, operations = np.zeros(all_fp32.shape), np.zeros(all_fp32.shape)
        for regime in regimes:
            mask = masks[regime]
            if mask.any():
                there = self._costs_in(regime, terms, lead, tail)
                memory[mask], operations[mask] = there[0][mask], there[1][mask]
        return memory, operations

    def _costs_in(self, regime: Regime, terms: TermsOf, lead: Codes, tail: int) -> tuple[Floats, Floats]:
        rows = len(lead)
        sums = [np.zeros((rows, 1)), np.zeros((rows, 1))]
        stem_and_head = Slot((STEM, HEAD), (regime.real,))
        for slot in filter(None, (stem_and_head, self.constant)):
            for total, table in zip(sums, self._tables(slot, regime, terms, rows), strict=True):
                total += table
        first, split = len(self.widths), len(self.slots) - tail
        for i, slot in enumerate(self.slots):
            tables = self._tables(slot, regime, terms, rows)
            if i < split:
                codes = lead[:, first + i, None].astype(np.intp)
                sums = [total + np.take_along_axis(t, codes, 1) for total, t in zip(sums, tables, strict=True)]
            else:
                sums = [
                    (total[:, :, None] + t[:, None, :]).reshape(rows, -1) for total, t in zip(sums, tables, strict=True)
                ]
        return sums[0], sums[1]

    def _tables(self, slot: Slot, regime: Regime, terms: TermsOf, rows: int) -> tuple[Floats, Floats]:
        """Memory and OPs of a slot's layers, `rows x precisions`."""
        memory, operations = np.zeros((rows, len(slot.precisions))), np.zeros((rows, len(slot.precisions)))
        for column, precision in enumerate(slot.precisions):
            layers = [terms(address, precision, regime.quantizes) for address in slot.addresses]
            copies: dict[int, int] = {}  # blocks of one stage share their terms
            for layer in layers:
                copies[id(layer)] = copies.get(id(layer), 0) + 1
            for layer in {id(layer): layer for layer in layers}.values():
                memory[:, column] += copies[id(layer)] * memory_bytes(layer, precision, self.accounting)
                operations[:, column] += copies[id(layer)] * ops(layer, precision, self.accounting)
        return memory, operations

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
            scaled = [self.space.base.scaled(**{str(variable.kind): float(c)}) for c in variable.choices]
            for stage in variable.stages:
                dims = [(a.embed_dims if variable.kind is Kind.HIDDEN else a.intermediate_dims)[stage] for a in scaled]
                tables[variable.kind, stage] = (index, np.array(dims, np.int64))
        return tables

    def _width_grid(self, lead: Codes) -> WidthGrid:
        """The architecture with the widths of each row."""
        base = self.space.base

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
