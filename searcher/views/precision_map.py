"""A network drawn as a map of precisions: a line for each kind of layer of a stage, a column for each block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from bhvit.cost import CostReport
from bhvit.precision import Precision
from searcher.candidate import Candidate
from searcher.quantities import QUANTITIES
from searcher.views.marks import precision_cell

GAP = 2  # columns between two fields of a line


@dataclass(frozen=True)
class MapLine:
    """Layers of one kind of a stage: its addresses by block, None for a block without such a layer.

    A layer that stands alone (a stem, a downsampling layer) is its own stage and has no kind.
    """

    stage: str
    kind: str
    addresses: tuple[str | None, ...]


def map_lines(addresses: Iterable[str]) -> list[MapLine]:
    """The lines of the map of these layers, in forward order; an address is `STAGE.BLOCK.KIND`, or `LAYER` alone."""
    stages: dict[str, list[tuple[str, str, str]]] = {}
    for address in addresses:
        stage, *rest = address.split(".")
        stages.setdefault(stage, []).append((".".join(rest[:-1]), rest[-1] if rest else "", address))
    lines = []
    for stage, layers in stages.items():
        blocks = list(dict.fromkeys(block for block, _, _ in layers))
        for kind in dict.fromkeys(kind for _, kind, _ in layers):
            there = {block: address for block, its_kind, address in layers if its_kind == kind}
            lines.append(MapLine(stage, kind, tuple(there.get(block) for block in blocks)))
    return lines


def precision_map(candidate: Candidate, report: CostReport) -> RenderableType:
    """Every layer of the candidate as a cell with its weight bits, the widths, and each line's share of the cost.

    Stem and head stand in it too. Lines that are too long for the terminal go on below.
    """
    layers = {row.address: row for row in report.layers}
    lines = map_lines(layers)
    shapes, total = _shapes(candidate, lines), report.total
    known = [quantity for quantity in QUANTITIES.values() if quantity.of(report) is not None]
    rows = []
    for line, shape, stage in zip(lines, shapes, _stage_names(lines), strict=True):
        its = [layers[address] for address in line.addresses if address is not None]
        shares = tuple(f"{sum(map(quantity.of, its)) / quantity.of(total):.1%}" for quantity in known)
        cells = [None if a is None else precision_cell(layers[a].precision) for a in line.addresses]
        rows.append(_Row((stage, *shape, line.kind), cells, shares))
    return _Map(("layer", "side", "width", "kind"), tuple(q.label for q in known), rows, cell_width=2)


def change_map(before: Mapping[str, Precision], after: Mapping[str, Precision]) -> RenderableType:
    """The layers of two networks; a cell that differs has both precisions, ` 1→16`, one that does not is not filled.

    `--` stands for a layer that the other network does not have.
    """

    def cell(address: str) -> Text:
        both = before.get(address), after.get(address)
        first, second = (Text("--", style="dim") if p is None else precision_cell(p) for p in both)
        return Text(first.plain, style="dim") if both[0] == both[1] else Text.assemble(first, ("→", "bold"), second)

    lines = map_lines([*before, *(address for address in after if address not in before)])
    rows = []
    for line, stage in zip(lines, _stage_names(lines), strict=True):
        its = [address for address in line.addresses if address is not None]
        count = sum(before.get(address) != after.get(address) for address in its)
        cells = [None if address is None else cell(address) for address in line.addresses]
        rows.append(_Row((stage, line.kind), cells, (f"{count} of {len(its)}" if count else "",)))
    return _Map(("layer", "kind"), ("differ",), rows, cell_width=5)


def precision_legend(used: Iterable[Precision], changes: bool = False) -> Text:
    """What the cells of the precisions `used` mean; with `changes` also those of layers that differ."""
    legend = Text("Weight bits, before→after:" if changes else "Weight bits, a column a block:")
    for precision in sorted(set(used), key=lambda p: p.bits):
        legend.append_text(Text.assemble("  ", precision_cell(precision), f" {precision}"))
    return legend


@dataclass(frozen=True)
class _Row:
    """A line of cells between fields on its left and right."""

    left: Sequence[str]
    cells: Sequence[Text | None]
    right: Sequence[str]


@dataclass(frozen=True)
class _Map:
    """Rows under the headings `left`, the numbers of the blocks and `right`, as wide as the terminal allows."""

    left: Sequence[str]
    right: Sequence[str]
    rows: Sequence[_Row]
    cell_width: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Header, then the lines; a line of more blocks than fit goes on below."""
        left = _column_widths([self.left, *(row.left for row in self.rows)])
        right = _column_widths([self.right, *(row.right for row in self.rows)])
        room = options.max_width - sum(left) - sum(right) - GAP * (len(left) + len(right))
        depth = max(len(row.cells) for row in self.rows)
        blocks = min(depth, max(1, (room + 1) // (self.cell_width + 1)))
        numbers = [Text(f"{j:>2}", style="dim") for j in range(depth)]
        for row in (_Row(self.left, numbers, self.right), *self.rows):
            for begin in range(0, len(row.cells), blocks):
                fields = (row.left, row.right) if begin == 0 else ([""] * len(left), [""] * len(right))
                line = Text(no_wrap=True, style="bold" if row.cells is numbers else "")
                for text, width in zip(fields[0], left, strict=True):
                    line.append(text.ljust(width + GAP))
                for cell in row.cells[begin : begin + blocks]:
                    line.append_text(cell or Text()).append(" " * (self.cell_width + 1 - len(cell or "")))
                line.pad_right(blocks * (self.cell_width + 1) - 1 - len(line) + sum(left) + GAP * len(left))
                for text, width in zip(fields[1], right, strict=True):
                    line.append(" " * GAP + text.rjust(width))
                yield line


def _column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _stage_names(lines: Sequence[MapLine]) -> list[str]:
    """The name of a stage beside its first line, nothing beside the others."""
    return [line.stage if i == 0 or lines[i - 1].stage != line.stage else "" for i, line in enumerate(lines)]


def _shapes(candidate: Candidate, lines: Sequence[MapLine]) -> Iterator[tuple[str, str]]:
    """Beside a stage's first line the side of its map and C, beside its second I."""
    a = candidate.architecture
    stages = iter(zip(a.resolutions, a.embed_dims, a.intermediate_dims, strict=True))
    second = ""
    for line, name in zip(lines, _stage_names(lines), strict=True):
        if line.kind and name:
            side, channels, inner = next(stages)
            second = f"I {inner}"
            yield f"{side} px", f"C {channels}"
        else:
            yield "", second if line.kind else ""
            second = ""
