"""The published tables as rows: which models they compare, what was printed, and what the printed figures hide.

Figures are van Loon (TU Delft, 2026), tables 3 and 4: BHViT-Tiny at 224 px, 37 classes, test Top-1 on Oxford-IIIT Pet,
mean of three seeds. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from bhvit.architecture import TINY
from bhvit.errors import InvalidInput, unknown_name
from bhvit.families import FAMILIES
from bhvit.precision import PrecisionPlan
from bhvit.staged import Architecture
from bhvit.wording import listed
from searcher.candidate import Candidate
from searcher.quantities import MIB

PUBLISHED_FAMILY, PUBLISHED_BASE = "bhvit", TINY  # the thesis is about this model alone
PUBLISHED_DATA, PUBLISHED_RECIPE, PUBLISHED_FACTOR = "oxford_iiit_pet", "pets", 3
DAGGER = "†"


@dataclass(frozen=True)
class Published:
    """A printed row: memory in MiB, OPs in millions, Top-1 in percent; `classes` is the head that was counted."""

    mib: float
    mops: float
    top1: float
    classes: int = 37


@dataclass(frozen=True)
class Row:
    """One model of a table: width factors, the precision of all layers, and that of downsampling where it differs.

    `key` names the row on the command line, `over` the row that its gain refers to (empty: none).
    """

    key: str
    label: str
    hidden: float = 1
    intermediate: float = 1
    precision: str = "binary"
    downsampling: str | None = None
    published: Published | None = None
    over: str = ""

    @property
    def model(self) -> str:
        """The model in letters that suit a folder, the same in every table that has it."""
        downsampling = f"-downsample-{self.downsampling}" if self.downsampling else ""
        return f"hidden{self.hidden:g}-mlp{self.intermediate:g}-{self.precision}{downsampling}"

    @property
    def plan(self) -> PrecisionPlan:
        """Its precisions."""
        plan = PrecisionPlan.uniform(self.precision)
        return plan.with_layers("downsample*", self.downsampling) if self.downsampling else plan

    def candidate(self, family: str, base: Architecture) -> Candidate:
        """The row's candidate on a base architecture."""
        return Candidate(family, base.scaled(self.hidden, self.intermediate), self.plan)

    def fits(self, base: Architecture) -> bool:
        """Whether layers of a base architecture may have the row's precisions."""
        try:
            base.layers_of(self.plan)
        except InvalidInput:
            return False
        return True


@dataclass(frozen=True)
class Note:
    """A footnote; `mark` stands beside the labels it belongs to. `of_published`: it speaks of the printed figures."""

    text: str
    mark: str = ""
    of_published: bool = True


@dataclass(frozen=True)
class Reproduction:
    """A table to train: its rows in order, the pairs of row keys whose differences it is about (first minus second)."""

    name: str
    title: str
    rows: tuple[Row, ...]
    comparisons: tuple[tuple[str, str], ...]
    notes: tuple[Note, ...]

    def row(self, key: str) -> Row:
        """The row of a key."""
        return next(row for row in self.rows if row.key == key)


FP_ROW = Row("fp", "FP w=1", precision="fp32", published=Published(48.26, 2548.8, 88.9))
W1 = Row("w1", "binary w=1", published=Published(1.55, 49.3, 81.8), over="fp")
W2 = Row("w2", "binary w=2", 2, 2, published=Published(6.11, 176.8, 84.8), over="w1")
W3 = Row("w3", "binary w=3", 3, 3, published=Published(13.68, 382.3, 86.7), over="w2")
W3_DAGGER = Row(
    "dagger", f"binary w=3 {DAGGER}", 3, 3, downsampling="fp16", published=Published(24.75, 1065.1, 87.8), over="w3"
)
HALVES = Note(
    "FP layers count 2 bytes a weight in the binary models and 4 in the baseline; with fp16 on both sides the baseline "
    f"is 24.13 MiB, and {DAGGER} (24.75) would be over it."
)
ELEMENTWISE = Note(
    "OPs leave out element-wise work; with it, w=3 costs 896 M against 2721 M of the baseline: 3.0x fewer, not 6.7x."
)
EFFORT = Note("FP w=1 trains both phases too, so that effort is equal.", of_published=False)


def _table3(family: str, base: Architecture, factor: float) -> Reproduction:
    notes = (
        Note(f"{DAGGER} downsampling layers in full precision, stored as fp16.", DAGGER, of_published=False),
        Note(
            f"The published {DAGGER} run used batches of 16, the others of 24, and its released script has no warm "
            "start; here all rows share one recipe and are warm-started."
        ),
        HALVES,
        ELEMENTWISE,
        EFFORT,
    )
    rows = (FP_ROW, W1, W2, W3, W3_DAGGER)
    return Reproduction("table3", "width against precision", rows, _over(rows), notes)


def _table4(family: str, base: Architecture, factor: float) -> Reproduction:
    f = f"{factor:g}"
    printed = factor == PUBLISHED_FACTOR
    start = replace(W1, key="base", label="base", over="")
    wide_mlp = Row("intermediate", f"+ MLP x{f}", intermediate=factor, over="base")
    both = Row("both", f"+ hidden x{f}", factor, factor, over="intermediate")
    if printed:
        wide_mlp = replace(wide_mlp, published=Published(4.39, 101.2, 83.6, classes=1000))
        both = replace(both, published=W3.published)
    recounts = printed and published_model(base)
    if recounts:
        wide_mlp = replace(wide_mlp, label=f"{wide_mlp.label} (a)")
    hidden = Row("hidden", f"hidden x{f}", hidden=factor, over="base")

    require_fitting("table4", (start, wide_mlp, both, hidden), base)  # before costs tell the last row's width

    def ops(row: Row) -> float:
        return row.candidate(family, base).cost().ops

    target = ops(wide_mlp)
    equal = closest_factor(lambda x: ops(replace(hidden, hidden=x)), target)
    equal_ops = Row("equal-ops", f"hidden x{equal:g} (b)", hidden=equal, over="base")
    recounted = Note(
        "(a) the paper's row was counted with a head of 1000 classes; with the model's 37 it is 3.45 MiB and 100.7 "
        "MOPs.",
        "(a)",
    )
    notes = (
        Note(
            f"(b) the hidden factor whose OPs are closest to those of MLP x{f}: {ops(equal_ops) / 1e6:.4g} against "
            f"{target / 1e6:.4g} MOPs.",
            "(b)",
            of_published=False,
        ),
        Note(
            "MLP: intermediate width; hidden: embedding width. Rows with + add to the row above; those "
            "without are the base with hidden width alone, and their gain is over the base.",
            of_published=False,
        ),
    )
    pairs = (
        ("intermediate", "base"),
        ("both", "intermediate"),
        ("hidden", "base"),
        ("both", "hidden"),
        ("hidden", "intermediate"),
        ("equal-ops", "intermediate"),
    )
    rows = (start, wide_mlp, both, hidden, equal_ops)
    return Reproduction(
        "table4", "hidden against intermediate width", rows, pairs, (recounted, *notes) if recounts else notes
    )


def _width_sweep(family: str, base: Architecture, factor: float) -> Reproduction:
    between = [Row(f"w{w:g}", f"binary w={w:g}", w, w) for w in (1.5, 2.5)]
    binary = [W1, between[0], W2, between[1], W3]
    rows = (FP_ROW, *(replace(row, over=above.key) for row, above in zip(binary, [FP_ROW, *binary], strict=False)))
    halves = Note("FP layers count 2 bytes a weight in the binary models and 4 in the baseline.")
    return Reproduction("width-sweep", "accuracy over width", rows, _over(rows), (halves, ELEMENTWISE, EFFORT))


REPRODUCTIONS: Mapping[str, Callable[[str, Architecture, float], Reproduction]] = MappingProxyType(
    {"table3": _table3, "table4": _table4, "width-sweep": _width_sweep}
)


def reproduction_named(name: str, family: str, base: Architecture, factor: float = PUBLISHED_FACTOR) -> Reproduction:
    """The table `name` on a base architecture; `factor` is the widening of table4 (the other tables have their own).

    Raises `InvalidInput` for an unknown name, for a factor that does not widen, and for one that a table has no use of.
    """
    if name not in REPRODUCTIONS:
        raise unknown_name("reproduction", name, REPRODUCTIONS)
    if factor != PUBLISHED_FACTOR and name != "table4":
        raise InvalidInput(f"--factor belongs to table4, but the widths of {name} are fixed; choose some with --rows.")
    if factor <= 1:
        raise InvalidInput(f"the factor of table4 must be above 1, but it is {factor:g}; use for example 2.")
    return REPRODUCTIONS[name](family, base, factor)


def require_fitting(table: str, rows: Sequence[Row], base: Architecture) -> None:
    """Raise `InvalidInput` where a base architecture cannot have the precisions of a row, with families that can."""
    lacking = {row.key: row.plan for row in rows if not row.fits(base)}
    if not lacking:
        return
    able = [f.name for f in FAMILIES.values() if all(row.fits(next(iter(f.presets.values()))) for row in rows)]
    others = [row.key for row in rows if row.key not in lacking]
    raise InvalidInput(
        f"{table} has rows whose precisions a {base.title} cannot have: "
        f"{listed(f'{key} ({plan})' for key, plan in lacking.items())}; use a --model of {listed(able, 'or')}"
        f"{', or --rows ' + ','.join(others) if others else ''}."
    )


def published_model(base: Architecture) -> bool:
    """Whether the printed memory and OPs are those of this base architecture."""
    return base == PUBLISHED_BASE


def printed_cost(row: Row, base: Architecture) -> tuple[str, str]:
    """Memory (MiB) and OPs (millions) of a row as the paper counts and prints them."""
    classes = base.num_classes if row.published is None else row.published.classes
    total = row.candidate(PUBLISHED_FAMILY, base.with_options(num_classes=classes)).cost().total
    return f"{total.memory_bytes / MIB:.2f}", f"{total.ops / 1e6:.1f}"


def closest_factor(ops_of: Callable[[float], float], target: float) -> float:
    """The width factor whose OPs are the closest to `target`, with as few decimals as give that very architecture.

    `ops_of(factor)` must not fall as the factor grows; widths are whole, so it is a staircase. The step over the
    target is found by bisection, the better of its two sides is taken, the lower one where they are equally close.
    """
    low, high = 1 / 64, 64.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if ops_of(middle) <= target else (low, middle)
    below, above = ops_of(low), ops_of(high)
    nearest = low if target - below <= above - target else high
    round_off = math.floor if nearest == low else math.ceil
    for decimals in range(12):
        rounded = round_off(nearest * 10**decimals) / 10**decimals
        if rounded > 0 and ops_of(rounded) == ops_of(nearest):
            return int(rounded) if rounded.is_integer() else rounded
    return nearest


def _over(rows: tuple[Row, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((row.key, row.over) for row in rows if row.over)
