"""What the packed runtime does in each layer of BHViT, in the units that a device profile has a coefficient for.

The formulas follow `bhvit/runtime/native`: tiles of tokens times panels of columns, both in whole tiles; binary inputs
in words of 32 a tap and group; windows of attention in whole tiles of queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, TypeAlias

from bhvit.architecture import MIXER_GROUPS, SHIFT_RADII
from bhvit.bhvit_terms import Shape
from bhvit.layer_terms import HEAD, STEM, Count
from bhvit.precision import PRECISIONS, Precision
from bhvit.staged import PATCH

Work: TypeAlias = Mapping[str, Count]
"""Name of a coefficient -> how often it counts."""


class WorkOf(Protocol):
    """The work of one layer of a shape."""

    def __call__(self, address: str, precision: Precision, plan_quantizes: bool) -> Work:
        """`Work` of `address` (or of "stem", "head") at `precision`, in a plan that quantizes or not."""


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
COLOURS, MIXER_BRANCHES, MIXER_TAPS, DOWNSAMPLE_TAPS = 3, 3, 9, 4


def bhvit_work(shape: Shape, instruction_set: str) -> WorkOf:
    """The work of a BHViT's layers, one image; layers of one stage, kind and precision share one mapping."""
    known, tile = dict[tuple[str, str, bool], Work](), TILES[instruction_set]

    def work_of(address: str, precision: Precision, plan_quantizes: bool) -> Work:
        key = (_kind_of(address), precision.name, plan_quantizes)
        if key not in known:
            known[key] = _work(shape, address, precision, plan_quantizes, tile)
        return known[key]

    return work_of


def _kind_of(address: str) -> str:
    """The address without its block, since blocks of a stage are alike: `stage2.mlp`."""
    return ".".join(part for part in address.split(".") if not part.startswith("block"))


def _work(s: Shape, address: str, p: Precision, plan_quantizes: bool, tile: Tile) -> Work:
    work = _Work(p, tile)
    if address == STEM:
        _stem(work, s)
    elif address == HEAD:
        _head(work, s)
    elif address.startswith("downsample"):
        stage = int(address[len("downsample") :])
        _downsample(work, s, stage, s.form_of_downsample(p.real_valued, plan_quantizes) == "residual")
    else:
        kind, stage = address[address.rindex(".") + 1 :], int(address[len("stage") : address.index(".")])
        {"mixer": _mixer, "attention": _attention, "mlp": _mlp}[kind](work, s, stage)
    return work.counts


class _Work:
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
        depth = taps * passes * (_up(inputs, WORD) if p.takes_signs else inputs)
        width = groups * _up(columns, PANEL)
        macs = tokens * width if p.real_valued else self.padded(tokens) * groups * _up(columns, self.tile.columns)
        self.add(f"{kernel}_mac_ps", macs * depth)
        weight_bytes = width * depth * kernel.weight_bytes
        self.add("weight_byte_ps", weight_bytes)
        self.add("far_weight_byte_ps", self.tiles(tokens) * (weight_bytes - CACHE) * (weight_bytes > CACHE))

    def operands(self, count: Count) -> None:
        """Activations that become what a product takes; signs come with the output or element that they are of."""
        if not self.precision.takes_signs:
            self.add("value_ns" if self.precision.real_valued else "level_ns", count)


def kernel_of(precision: Precision) -> tuple[Precision, int]:
    """The precision whose kernel computes a product, and how often it counts an input: once a plane of signs."""
    if precision.takes_signs:
        return PRECISIONS["binary"], precision.weight_bits
    return (PRECISIONS["int4"] if precision.weight_bits < 4 else precision), 1


def _up(count: Count, unit: int) -> Count:
    """`count` rounded up to a multiple of `unit`."""
    return -(-count // unit) * unit


def _stem(work: _Work, s: Shape) -> None:
    c, tokens = s.embed_dims[0], s.resolutions[0] ** 2
    work.product(tokens, c, COLOURS * PATCH**2)
    work.add("pixel_ns", tokens * COLOURS * PATCH**2)
    work.add("output_ns", tokens * c)
    work.add("element_ns", tokens * c)


def _head(work: _Work, s: Shape) -> None:
    c, tokens = s.embed_dims[-1], s.resolutions[-1] ** 2
    work.product(1, s.num_classes, c)
    work.add("element_ns", 2 * tokens * c)


def _downsample(work: _Work, s: Shape, stage: int, residual: bool) -> None:
    c_in, c, tokens = s.embed_dims[stage - 1], s.embed_dims[stage], s.resolutions[stage] ** 2
    padded = work.padded(tokens)
    work.product(tokens, c, c_in, taps=DOWNSAMPLE_TAPS)
    work.operands(padded * DOWNSAMPLE_TAPS * c_in)
    work.add("output_ns", padded * c)
    work.add("element_ns", tokens * (DOWNSAMPLE_TAPS * c_in * (2 if residual else 1) + c))


def _mixer(work: _Work, s: Shape, stage: int) -> None:
    """Three dilated convolutions; those of signs read one plane of them and take half a tile of a row at a time."""
    c, side = s.embed_dims[stage], s.resolutions[stage]
    signs, lanes = work.precision.takes_signs, max(1, work.tile.tokens // 2)
    tokens = side * _up(side, lanes) if signs else side**2
    padded = work.padded(tokens)
    for _ in range(MIXER_BRANCHES):
        work.product(tokens, c // MIXER_GROUPS, c // MIXER_GROUPS, MIXER_TAPS, MIXER_GROUPS)
    work.operands(side**2 * c if signs else padded * MIXER_BRANCHES * MIXER_TAPS * c)
    work.add("output_ns", padded * MIXER_BRANCHES * c)
    work.add("element_ns", 4 * side**2 * c)


def _attention(work: _Work, s: Shape, stage: int) -> None:
    """Projections of all tokens and of a summary token a window; then windows of g^2 tokens that also see those."""
    c, heads, side = s.embed_dims[stage], s.num_heads[stage], s.resolutions[stage]
    tokens, windows, tile, head = side**2, (side // s.window_size) ** 2, work.tile, c // heads
    keys = s.window_size**2 + windows
    rows, tasks = _up(tokens + windows, tile.tokens), windows * -(-keys // tile.tokens)
    work.product(tokens + windows, 3 * c, c)
    work.product(tokens, c, c)
    work.operands(6 * rows * c + work.padded(tokens) * c)
    work.add("output_ns", (3 * rows + work.padded(tokens) + tasks * tile.tokens) * c)
    work.add("score_ns", tasks * tile.tokens * keys * heads)
    work.add("element_ns", 11 * tokens * c)
    if work.precision.takes_signs:  # scores of signs, and two planes of probabilities times signs
        depth = _up(keys, tile.columns) * _up(head, WORD) + _up(head, tile.columns) * 2 * _up(keys, WORD)
        work.add("binary_mac_ps", tasks * tile.tokens * heads * depth)
    else:
        work.add("fp32_mac_ps", windows * keys * heads * (_up(keys, PANEL) * head + _up(head, PANEL) * keys))
        work.add("gather_ns", 2 * tasks * keys * c)


def _mlp(work: _Work, s: Shape, stage: int) -> None:
    c, i, tokens = s.embed_dims[stage], s.intermediate_dims[stage], s.resolutions[stage] ** 2
    work.product(tokens, i, c)
    work.product(tokens, c, i)
    outputs = work.padded(tokens) * (c + i)
    work.operands(outputs)
    work.add("output_ns", outputs)
    work.add("uneven_ns", work.padded(tokens) * i * (i % c != 0))
    reach = max((SHIFT_RADII[name] for name in s.shifts), default=0)
    work.add("element_ns", (3 + reach) * tokens * c)
