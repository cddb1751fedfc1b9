"""What the packed runtime does in a layer, in the units that a device profile has a coefficient for.

A family's work function counts its layers with `LayerWork`. The formulas follow `bhvit/runtime/native`: tiles of tokens
times panels of columns, both in whole tiles; binary inputs in words of 32 a tap and group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from bhvit.layer_terms import Count
from bhvit.precision import PRECISIONS, Precision

Work: TypeAlias = Mapping[str, Count]
"""Name of a coefficient -> how often it counts."""


class WorkOf(Protocol):
    """The work of one layer of a shape."""

    def __call__(self, address: str, precision: Precision, plan_quantizes: bool) -> Work:
        """`Work` of `address` (or of "stem", "head") at `precision`, in a plan that quantizes or not."""


WorkFunction: TypeAlias = Callable[[Any, str], WorkOf]
"""From a shape (an architecture, or a grid of widths over one) and an instruction set to the work of its layers."""


class Tile(NamedTuple):
    """Tokens and output columns that a kernel computes together; `real` tokens are taken where values are real."""

    tokens: int
    columns: int
    real: int


TILES = {
    "avx512": Tile(32, 8, 28),
    "avx2": Tile(16, 4, 12),
    "neon": Tile(8, 8, 6),
    "scalar": Tile(16, 4, 16),
    "numpy": Tile(1, 1, 1),
}
WORD, PANEL = 32, 16  # bits of a word of signs; columns of a panel of weights
CACHE = 2**20  # bytes of weights that stay near a core while it goes through a layer's tiles


class LayerWork:
    """Adds up the work of a layer at one precision; `counts` has it."""

    def __init__(self, precision: Precision, tile: Tile) -> None:
        self.precision, self.tile, self.counts = precision, tile, dict[str, Count]({"layer_us": 1})

    def add(self, coefficient: str, count: Count) -> None:
        """Count something `count` times."""
        self.counts[coefficient] = self.counts.get(coefficient, 0) + count

    def tiles(self, tokens: int) -> int:
        """Tiles of so many tokens."""
        real = self.precision.real_valued
        return -(-tokens // (self.tile.real if real else self.tile.tokens))

    def padded(self, tokens: int) -> int:
        """Tokens of whole tiles: element-wise work is done for all of them."""
        return self.tiles(tokens) * self.tile.tokens

    def product(self, tokens: int, columns: Count, inputs: Count, taps: int = 1, groups: int = 1) -> None:
        """Accumulators of `groups` times `columns` for each token, of `taps` times `inputs` each.

        Quantized products are computed in whole tiles, real-valued ones in whole panels of the tokens that there are.
        """
        p = self.precision
        kernel, passes = kernel_of(p)
        depth = taps * passes * (rounded_up(inputs, WORD) if p.takes_signs else inputs)
        width = groups * rounded_up(columns, PANEL)
        macs = (
            tokens * width if p.real_valued else self.padded(tokens) * groups * rounded_up(columns, self.tile.columns)
        )
        self.add(f"{kernel}_mac_ps", macs * depth)
        weight_bytes = width * depth * kernel.weight_bytes
        self.add("weight_byte_ps", weight_bytes)
        self.add("far_weight_byte_ps", self.tiles(tokens) * (weight_bytes - CACHE) * (weight_bytes > CACHE))

    def attention(self, queries: int, whole: int, keys: int, heads: int, head: Count, planes: int) -> None:
        """Products of queries and keys of `head` channels a head, and of probabilities (bit `planes`) and values.

        Those of signs are computed for the `whole` tiles of queries, the others for the `queries` that there are.
        """
        if self.precision.takes_signs:
            scores = rounded_up(keys, self.tile.columns) * rounded_up(head, WORD)
            context = rounded_up(head, self.tile.columns) * planes * rounded_up(keys, WORD)
            self.add("binary_mac_ps", whole * heads * (scores + context))
        else:
            depth = rounded_up(keys, PANEL) * head + rounded_up(head, PANEL) * keys
            self.add("fp32_mac_ps", queries * heads * depth)

    def operands(self, count: Count) -> None:
        """Activations that become what a product takes; signs come with the output or element that they are of."""
        if not self.precision.takes_signs:
            self.add("value_ns" if self.precision.real_valued else "level_ns", count)


def kernel_of(precision: Precision) -> tuple[Precision, int]:
    """The precision whose kernel computes a product, and how often it counts an input: once a plane of signs."""
    if precision.takes_signs:
        return PRECISIONS["binary"], precision.weight_bits
    return (PRECISIONS["int4"] if precision.weight_bits < 4 else precision), 1


def rounded_up(count: Count, unit: int) -> Count:
    """`count` rounded up to a multiple of `unit`."""
    return -(-count // unit) * unit
