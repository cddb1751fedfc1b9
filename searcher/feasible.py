"""The feasible set: every configuration of a space that is within the budget, known before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from searcher.grid import Block, Codes, Floats, Grid
from searcher.quantities import QUANTITIES
from searcher.space import Space

ENUMERABLE = 10**7  # configurations; a larger space is sampled
SAMPLE = 10**6


@dataclass(frozen=True)
class FeasibleSet:
    """Configurations within the budget, in the order of their index.

    `codes` is `configurations x variables`; `memory_bytes`, `ops` and, where the space names a device,
    `latency_seconds` have one entry a configuration. `examined` of the space's `size` configurations were costed: all
    of them, or (`sampled`) distinct ones drawn at random, the enqueued ones, the cheapest ones and their neighbours.
    """

    codes: Codes
    memory_bytes: Floats
    ops: Floats
    size: int
    examined: int
    latency_seconds: Floats | None = None

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def sampled(self) -> bool:
        """Whether the set is a sample of the space rather than all of it."""
        return self.examined < self.size

    def row_of(self, digits: tuple[int, ...]) -> int | None:
        """Row of the configuration with these digits; None where it is not in the set."""
        row = int(self.rows_of(np.array([digits], np.uint8))[0])
        return None if row < 0 else row

    def rows_of(self, codes: Codes) -> NDArray[np.intp]:
        """Row of each of these configurations; -1 where it is not in the set."""
        if not len(self) or not codes.shape[1]:
            return np.full(len(codes), len(self) - 1, np.intp)
        own, keys = _keys(self.codes), _keys(codes)
        rows = np.minimum(np.searchsorted(own, keys), len(self) - 1)
        return np.where(own[rows] == keys, rows, -1)


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
    latency_seconds: Range | None = None

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
        kept.append(block[within(space, block)])
    costs = {
        QUANTITIES[name].field: np.concatenate([QUANTITIES[name].of(b) for b in kept]) for name in space.quantities
    }
    return FeasibleSet(np.concatenate([b.codes for b in kept]), **costs, size=space.size, examined=examined)


def profile(space: Space) -> SpaceProfile:
    """Sizes, shares and ranges of a space."""
    limits, alone = space.budget.limits, dict.fromkeys(space.budget.limits, 0)
    feasible = examined = 0
    costs: dict[str, list[Floats]] = {name: [] for name in space.quantities}
    for block in examined_blocks(space):
        examined += len(block.codes)
        for quantity, values in costs.items():
            values.append(QUANTITIES[quantity].of(block))
        feasible += int(within(space, block).sum())
        for quantity, used in space.budget.used(block).items():
            alone[quantity] += int((used <= limits[quantity]).sum())
    ranges = {QUANTITIES[name].field: _range(np.concatenate(values)) for name, values in costs.items()}
    shares = {quantity: count / examined for quantity, count in alone.items()}
    return SpaceProfile(space.size, examined, feasible, **ranges, shares=shares)


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
    """Distinct configurations, drawn uniformly or certain to matter; the same ones for the same seed.

    Under a tight budget a uniform draw can miss every feasible configuration, hence those that were asked for, the
    cheapest in each quantity, and all that differ from a cheapest one in a single variable.
    """
    draw = np.random.default_rng([space.search.seed, space.size % 2**32])
    columns = [draw.integers(len(v.choices), size=SAMPLE, dtype=np.uint8) for v in space.variables]
    enqueued = np.array([space.digits_of(point) for point in space.enqueued], np.uint8).reshape(-1, len(columns))
    codes = np.concatenate(
        (np.stack(columns, axis=1), enqueued, *(_around_cheapest(space, q) for q in space.quantities))
    )
    return codes[np.unique(_keys(codes), return_index=True)[1]]


def _around_cheapest(space: Space, quantity: str) -> Codes:
    """The configuration that costs least of `quantity`, and its neighbours.

    Costs grow with every width and add up over the layers, so the descent by single variables from the narrowest
    configuration of the fewest bits ends at the minimum of the space; mostly it starts there.
    """
    grid, digits = Grid(space), np.array([np.argmin(v.positions) for v in space.variables], np.uint8)
    while True:
        codes = np.concatenate((digits[None], neighbours(space, digits)))
        used = np.concatenate([QUANTITIES[quantity].of(block) for block in grid.at(codes)])
        if used[0] == used.min():
            return codes
        digits = codes[used.argmin()]


def neighbours(space: Space, digits: NDArray[np.uint8]) -> Codes:
    """The configurations that differ from `digits` in one variable."""
    variable, choice = np.array(
        [(i, c) for i, v in enumerate(space.variables) for c in range(len(v.choices)) if c != digits[i]], np.intp
    ).T
    codes = np.tile(digits, (len(variable), 1))
    codes[np.arange(len(codes)), variable] = choice
    return codes


def _keys(codes: Codes) -> NDArray[np.bytes_]:
    """Rows as byte strings: their order is that of the configurations' indices."""
    return np.ascontiguousarray(codes).view(f"S{codes.shape[1]}").ravel()


def _range(values: Floats) -> Range:
    return Range(float(values.min()), float(np.median(values)), float(values.max()))
