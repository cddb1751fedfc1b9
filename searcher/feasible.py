"""The feasible set: every configuration of a space that is within the budget, known before anything is trained."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searcher.grid import Block, Codes, Floats, ModelGrid, full_codes, own_codes
from searcher.model_space import MODEL, ModelSpace
from searcher.overlaps import Overlaps
from searcher.quantities import QUANTITIES
from searcher.space import Space
from searcher.variables import Variable

ENUMERABLE = 10**7  # configurations; a larger space is sampled
SAMPLE = 10**6  # of each model


@dataclass(frozen=True)
class FeasibleSet:
    """Configurations within the budget, in the order of their index, no candidate twice.

    `codes` is `configurations x variables`; `memory_bytes`, `ops` and, where the space names a device,
    `latency_seconds` have one entry a configuration. `examined` of the space's `size` configurations were costed: all
    of them, or (`sampled`) distinct ones drawn at random, the enqueued ones, the cheapest ones and their neighbours.
    `repeated` within the budget were left out, since an earlier model has their candidate (`Overlaps`). `share` is that
    of the whole space, in which models weigh as much as they have configurations; None if unknown.
    """

    codes: Codes
    memory_bytes: Floats
    ops: Floats
    size: int
    examined: int
    latency_seconds: Floats | None = None
    share: float | None = None
    repeated: int = 0

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
    limit; the tightest of them `binds`. Shares are estimates where the space was `sampled`. `repeated` of the
    `feasible` configurations are candidates of an earlier model, too. `models` are the profiles of the alternatives by
    label, where the space chooses among several.
    """

    size: int
    examined: int
    feasible: int
    memory_bytes: Range
    ops: Range
    shares: dict[str, float]
    latency_seconds: Range | None = None
    repeated: int = 0
    models: Mapping[str, SpaceProfile] = field(default_factory=dict)

    @property
    def sampled(self) -> bool:
        """Whether the figures are those of a random sample."""
        return self.examined < self.size

    @property
    def share(self) -> float:
        """Share of the configurations within the budget, estimated from those that were examined."""
        parts = list(self.models.values()) or [self]
        return _share_among(parts, [part.feasible for part in parts])

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
    examined, counts, overlaps = [0] * len(space.models), [0] * len(space.models), Overlaps(space)
    for place in range(len(space.models)):
        for block in _blocks_of(space, place):
            feasible = block[within(space, block)]
            kept.append(_unrepeated(space, overlaps, feasible))
            examined[place] += len(block.codes)
            counts[place] += len(feasible.codes)
    share = _share_of([model.size for model in space.models], examined, counts)
    codes = np.concatenate([b.codes for b in kept])
    rows: Any = slice(None)
    if overlaps and not all(_enumerated(space, model) for model in space.models):
        rows = np.unique(_keys(codes), return_index=True)[1]
    costs = {
        QUANTITIES[name].field: np.concatenate([QUANTITIES[name].of(b) for b in kept])[rows]
        for name in space.quantities
    }
    repeated = sum(counts) - len(codes[rows])
    return FeasibleSet(codes[rows], **costs, size=space.size, examined=sum(examined), share=share, repeated=repeated)


def _unrepeated(space: Space, overlaps: Overlaps, block: Block) -> Block:
    """A block of one model without the candidates that earlier models have.

    Those of a sampled one, which may lack them, are kept as that one's.
    """
    if not overlaps:
        return block
    first = overlaps.first(block.codes)
    sampled = np.array([not _enumerated(space, model) for model in space.models])
    return replace(block, codes=first)[(first[:, 0] == block.codes[:, 0]) | sampled[first[:, 0]]]


def profile(space: Space) -> SpaceProfile:
    """Sizes, shares and ranges of a space, and of each of its models where there are several."""
    overlaps = Overlaps(space)
    tallies = [_tally(space, place, overlaps) for place in range(len(space.models))]
    models = [tally.profile(model.size) for tally, model in zip(tallies, space.models, strict=True)]
    if not space.mixed:
        return models[0]
    whole = functools.reduce(_Tally.joined, tallies)
    shares = {q: _share_among(models, [tally.alone[q] for tally in tallies]) for q in whole.alone}
    named = {model.label: found for model, found in zip(space.models, models, strict=True)}
    return replace(whole.profile(space.size), shares=shares, models=named)


@dataclass(frozen=True)
class _Tally:
    """What was counted: `alone` are within one limit each, `costs` (by field) hold one value a configuration."""

    examined: int
    feasible: int
    repeated: int
    alone: Mapping[str, int]
    costs: Mapping[str, Floats]

    def joined(self, other: _Tally) -> _Tally:
        """Both together."""
        alone = {name: count + other.alone[name] for name, count in self.alone.items()}
        costs = {name: np.concatenate((values, other.costs[name])) for name, values in self.costs.items()}
        counts = self.examined + other.examined, self.feasible + other.feasible, self.repeated + other.repeated
        return _Tally(*counts, alone, costs)

    def profile(self, size: int) -> SpaceProfile:
        """The profile of `size` configurations of which these were examined."""
        shares = {quantity: count / self.examined for quantity, count in self.alone.items()}
        ranges: dict[str, Any] = {name: _range(values) for name, values in self.costs.items()}
        return SpaceProfile(size, self.examined, self.feasible, **ranges, shares=shares, repeated=self.repeated)


def _tally(space: Space, place: int, overlaps: Overlaps) -> _Tally:
    """What is counted of the model number `place`."""
    limits, alone = space.budget.limits, dict.fromkeys(space.budget.limits, 0)
    feasible = examined = repeated = 0
    costs: dict[str, list[Floats]] = {QUANTITIES[name].field: [] for name in space.quantities}
    for block in _blocks_of(space, place):
        examined += len(block.codes)
        for name, values in costs.items():
            values.append(getattr(block, name))
        codes = block.codes[within(space, block)]
        feasible += len(codes)
        repeated += overlaps.repeated(codes)
        for quantity, used in space.budget.used(block).items():
            alone[quantity] += int((used <= limits[quantity]).sum())
    return _Tally(examined, feasible, repeated, alone, {name: np.concatenate(values) for name, values in costs.items()})


def _share_among(parts: Sequence[SpaceProfile], counts: Sequence[int]) -> float:
    return _share_of([part.size for part in parts], [part.examined for part in parts], counts)


def _share_of(sizes: Sequence[int], examined: Sequence[int], counts: Sequence[int]) -> float:
    """Share of all configurations, of which `counts` were counted among those `examined` of each part; exact sums."""
    parts = zip(sizes, examined, counts, strict=True)
    return float(sum(Fraction(size * count, seen) for size, seen, count in parts) / sum(sizes))


def examined_blocks(space: Space) -> Iterator[Block]:
    """Costs of all configurations, or of a sample where there are too many, in the order of their index."""
    for place in range(len(space.models)):
        yield from _blocks_of(space, place)


def examined_count(space: Space) -> int:
    """About how many configurations `examined_blocks` gives (a draw holds few of them twice)."""
    return sum(m.size if _enumerated(space, m) else SAMPLE for m in space.models)


def _blocks_of(space: Space, place: int) -> Iterator[Block]:
    """What is examined of the model number `place`."""
    model = space.models[place]
    grid = ModelGrid(space, model)
    blocks = grid.blocks() if _enumerated(space, model) else grid.at(_sample(space, place, grid))
    return (replace(block, codes=full_codes(space, place, block.codes)) for block in blocks)


def _enumerated(space: Space, model: ModelSpace) -> bool:
    """Whether all configurations of a model are examined: beside models that are too large, a small one is."""
    return space.size <= ENUMERABLE or model.size <= SAMPLE


def within(space: Space, block: Block) -> NDArray[np.bool_]:
    """Which configurations of a block are within the budget."""
    mask = np.ones(len(block.codes), bool)
    for quantity, used in space.budget.used(block).items():
        mask &= used <= space.budget.limits[quantity]
    return mask


def _sample(space: Space, place: int, grid: ModelGrid) -> Codes:
    """Distinct configurations of a model, drawn uniformly or certain to matter; the same ones for the same seed.

    Under a tight budget a uniform draw can miss every feasible configuration, hence those that were asked for, the
    cheapest in each quantity, and all that differ from a cheapest one in a single variable.
    """
    model = space.models[place]
    draw = np.random.default_rng([space.search.seed, model.size % 2**32])
    columns = [draw.integers(len(v.choices), size=SAMPLE, dtype=np.uint8) for v in model.variables]
    asked = [model.digits_of(point) for point in space.enqueued if space.model_of(point) is model]
    enqueued = np.array(asked, np.uint8).reshape(-1, len(columns))
    codes = np.concatenate(
        (np.stack(columns, axis=1), enqueued, *(_around_cheapest(grid, q) for q in space.quantities))
    )
    return codes[np.unique(_keys(codes), return_index=True)[1]]


def _around_cheapest(grid: ModelGrid, quantity: str) -> Codes:
    """The configuration of a model that costs least of `quantity`, and its neighbours.

    Costs grow with every width and add up over the layers, so the descent by single variables from the narrowest
    configuration of the fewest bits ends at the minimum of the model; mostly it starts there.
    """
    variables = grid.model.variables
    digits = np.array([np.argmin(v.positions) for v in variables], np.uint8)
    while True:
        codes = np.concatenate((digits[None], _steps(variables, digits)))
        used = np.concatenate([QUANTITIES[quantity].of(block) for block in grid.at(codes)])
        if used[0] == used.min():
            return codes
        digits = codes[used.argmin()]


def neighbours(space: Space, digits: NDArray[np.uint8]) -> Codes:
    """The configurations that differ from `digits` in one variable.

    Under another model all choices stay that it has, too; its other variables get their defaults.
    """
    if not space.mixed:
        return _steps(space.variables, digits)
    place, choices = int(digits[0]), space.choices_of(digits.tolist())
    own = _steps(space.models[place].variables, own_codes(space, place, digits[None])[0])
    others = []
    for model in space.models:
        if model is not space.models[place]:
            kept = {v.name: c if (c := choices.get(v.name)) in v.choices else v.default for v in model.variables}
            others.append(space.digits_of({MODEL: model.label, **kept}))
    return np.concatenate((full_codes(space, place, own), np.array(others, np.uint8)))


def _steps(variables: Sequence[Variable], digits: NDArray[np.uint8]) -> Codes:
    """The codes that differ from `digits` in one of `variables`."""
    steps = [(i, c) for i, v in enumerate(variables) for c in range(len(v.choices)) if c != digits[i]]
    variable, choice = np.array(steps, np.intp).reshape(-1, 2).T
    codes = np.tile(digits, (len(steps), 1))
    codes[np.arange(len(codes)), variable] = choice
    return codes


def _keys(codes: Codes) -> NDArray[np.bytes_]:
    """Rows as byte strings: their order is that of the configurations' indices."""
    return np.ascontiguousarray(codes).view(f"S{codes.shape[1]}").ravel()


def _range(values: Floats) -> Range:
    return Range(float(values.min()), float(np.median(values)), float(values.max()))
