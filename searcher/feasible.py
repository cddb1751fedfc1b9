"""The feasible set: every configuration of a space that is within the budget, known before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from searcher.budget import QUANTITIES
from searcher.grid import Block, Codes, Floats, Grid
from searcher.space import Space

ENUMERABLE = 10**7  # configurations; a larger space is sampled
SAMPLE = 10**6


@dataclass(frozen=True)
class FeasibleSet:
    """Configurations within the budget, in the order of their index.

    `codes` is `configurations x variables`; `memory_bytes` and `ops` have one entry a configuration. `examined` of the
    space's `size` configurations were costed: all of them, or (`sampled`) a uniform random sample of distinct ones.
    """

    codes: Codes
    memory_bytes: Floats
    ops: Floats
    size: int
    examined: int

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def sampled(self) -> bool:
        """Whether the set is a sample of the space rather than all of it."""
        return self.examined < self.size

    def row_of(self, digits: tuple[int, ...]) -> int | None:
        """Row of the configuration with these digits; None where it is not in the set."""
        if not digits:
            return 0 if len(self) else None
        keys, key = _keys(self.codes), _keys(np.array([digits], np.uint8))[0]
        row = int(np.searchsorted(keys, key))
        return row if row < len(self) and keys[row] == key else None


@dataclass(frozen=True)
class Range:
    """Smallest, median and largest value."""

    minimum: float
    median: float
    maximum: float


@dataclass(frozen=True)
class SpaceProfile:
    """What a space holds, before any training.

    `shares` maps each limited quantity to the share of configurations that would be feasible if it were the only
    limit; the tightest of them `binds`. Shares are estimates where the space was `sampled`.
    """

    size: int
    examined: int
    feasible: int
    memory_bytes: Range
    ops: Range
    shares: dict[str, float]

    @property
    def sampled(self) -> bool:
        """Whether the figures are those of a random sample."""
        return self.examined < self.size

    @property
    def share(self) -> float:
        """Share of the examined configurations within the budget."""
        return self.feasible / self.examined

    @property
    def satisfiable(self) -> bool:
        """Whether any examined configuration is within the budget."""
        return self.feasible > 0

    @property
    def binds(self) -> str | None:
        """The single limit that excludes most; None where no limit excludes anything."""
        if not self.shares or min(self.shares.values()) == 1:
            return None
        return min(self.shares, key=self.shares.__getitem__)


def feasible_set(space: Space) -> FeasibleSet:
    """Every configuration of `space` within its budget (of a sample, beyond `ENUMERABLE` configurations)."""
    kept: list[Block] = []
    examined = 0
    for block in examined_blocks(space):
        examined += len(block.codes)
        mask = within(space, block)
        kept.append(Block(block.codes[mask], block.memory_bytes[mask], block.ops[mask]))
    return FeasibleSet(
        np.concatenate([b.codes for b in kept]),
        np.concatenate([b.memory_bytes for b in kept]),
        np.concatenate([b.ops for b in kept]),
        space.size,
        examined,
    )


def profile(space: Space) -> SpaceProfile:
    """Sizes, shares and ranges of a space."""
    limits, alone = space.budget.limits, dict.fromkeys(space.budget.limits, 0)
    feasible = 0
    memory: list[Floats] = []
    operations: list[Floats] = []
    for block in examined_blocks(space):
        memory.append(block.memory_bytes)
        operations.append(block.ops)
        feasible += int(within(space, block).sum())
        for quantity, used in space.budget.used(block).items():
            alone[quantity] += int((used <= limits[quantity]).sum())
    examined = sum(map(len, memory))
    return SpaceProfile(
        space.size,
        examined,
        feasible,
        _range(np.concatenate(memory)),
        _range(np.concatenate(operations)),
        {quantity: alone[quantity] / examined for quantity in QUANTITIES if quantity in alone},
    )


def examined_blocks(space: Space) -> Iterator[Block]:
    """Costs of all configurations, or of a sample where there are too many."""
    if space.size <= ENUMERABLE:
        return Grid(space).blocks()
    return Grid(space).at(_sample(space))


def within(space: Space, block: Block) -> NDArray[np.bool_]:
    """Which configurations of a block are within the budget."""
    mask = np.ones(len(block.codes), bool)
    for quantity, used in space.budget.used(block).items():
        mask &= used <= space.budget.limits[quantity]
    return mask


def _sample(space: Space) -> Codes:
    """Distinct configurations, uniform over the space; the same ones for the same seed."""
    draw = np.random.default_rng([space.search.seed, space.size % 2**32])
    columns = [draw.integers(len(v.choices), size=SAMPLE, dtype=np.uint8) for v in space.variables]
    codes = np.stack(columns, axis=1)
    return codes[np.unique(_keys(codes), return_index=True)[1]]


def _keys(codes: Codes) -> NDArray[np.bytes_]:
    """Rows as byte strings: their order is that of the configurations' indices."""
    return np.ascontiguousarray(codes).view(f"S{codes.shape[1]}").ravel()


def _range(values: Floats) -> Range:
    return Range(float(values.min()), float(np.median(values)), float(values.max()))
