"""From the tensors of a packed file to the network that the runtimes compute."""

from __future__ import annotations

import numpy as np

from bhvit.architecture import DILATIONS
from bhvit.precision import Precision
from bhvit.runtime.families import Mixing
from bhvit.runtime.network import (
    Attention,
    Block,
    Downsample,
    Floats,
    Head,
    Kind,
    LayerScale,
    Mixer,
    Mlp,
    Network,
    Norm,
    Product,
    Projection,
    Residual,
    RPReLU,
    Stage,
    Stem,
    Windows,
)
from bhvit.runtime.packed_file import PackedModel

WHITE = 255  # the uint8 value that normalisation constants count as 1


def network_of(packed: PackedModel) -> Network:
    """The network of a packed file; arrays are used in place, weights where they are stored as kernels read them."""
    return _Assembly(packed).network()


class _Assembly:
    """Takes tensors by their names in the file (`schema.tensors_of`)."""

    def __init__(self, packed: PackedModel) -> None:
        self._packed, self._header = packed, packed.header

    def network(self) -> Network:
        a = self._header.architecture
        stages = tuple(self._stage(i) for i in range(len(a.stages)))
        head = Head(self._norm("head.norm"), self._product("head.linear", self._header.real))
        return Network(self._stem(), stages, head)

    def _stem(self) -> Stem:
        h = self._header
        mean, std = np.array(h.mean), np.array(h.std)
        return Stem(
            image_size=h.architecture.image_size,
            channels=h.architecture.embed_dims[0],
            gelu=int(h.architecture.stem_gelu),
            classes=h.architecture.num_classes,
            product=self._product("stem.conv", h.real),
            norm=self._norm("stem.norm"),
            position=self._array("stem.position"),
            image_scale=(1 / (WHITE * std)).astype(np.float32),
            image_shift=(-mean / std).astype(np.float32),
        )

    def _stage(self, i: int) -> Stage:
        a = self._header.architecture
        return Stage(
            downsample=self._downsample(i) if i else None,
            side=a.resolutions[i],
            channels=a.embed_dims[i],
            blocks=tuple(self._block(i, j) for j in range(a.depths[i])),
        )

    def _downsample(self, i: int) -> Downsample:
        name = f"downsamples.{i - 1}"
        residual = self._header.form_of_downsample(i) == "residual"
        return Downsample(
            norm_in=self._norm(f"{name}.norm_in"),
            product=self._product(f"{name}.conv", self._header.layers[f"downsample{i}"]),
            norm=self._norm(f"{name}.norm"),
            residual=int(residual),
            rprelu=self._rprelu(f"{name}.rprelu") if residual else None,
            position=self._array(f"{name}.position"),
        )

    def _block(self, i: int, j: int) -> Block:
        name, address = f"stages.{i}.{j}", f"stage{i}.block{j}"
        mlp = self._mlp(name, i, self._header.layers[f"{address}.mlp"])
        mixing, (part, _) = self._header.family.mixing(i), self._header.architecture.block_parts(i)
        precision = self._header.layers[f"{address}.{part}"]
        if mixing is Mixing.convolutions:
            return Block(self._mixer(name, precision), None, mlp)
        return Block(None, self._attention(name, i, precision, mixing), mlp)

    def _mixer(self, block: str, precision: Precision) -> Mixer:
        name, branches = f"{block}.mixer", range(len(DILATIONS))
        return Mixer(
            norm_before=self._norm(f"{block}.norm_before"),
            convs=tuple(self._product(f"{name}.convs.{k}", precision, f"{name}.shift") for k in branches),
            rprelus=tuple(self._rprelu(f"{name}.rprelus.{k}") for k in branches),
            norm=self._norm(f"{name}.norm"),
        )

    def _attention(self, block: str, stage: int, precision: Precision, mixing: Mixing) -> Attention:
        name, h = f"{block}.mixer", self._header
        reduction_ratio = h.family.reduction_ratio(h.architecture, stage)
        return Attention(
            norm_before=self._norm(f"{block}.norm_before"),
            heads=h.architecture.num_heads[stage],
            kind=Kind[precision.name].of_activations,
            reduction_ratio=reduction_ratio,
            windows=self._windows(name) if mixing is Mixing.windows else None,
            reduction=self._residual(f"{name}.reduction", precision) if reduction_ratio > 1 else None,
            query=self._projection(f"{name}.query", precision),
            key=self._projection(f"{name}.key", precision),
            value=self._projection(f"{name}.value", precision),
            probability_scale=self._probability_scale(f"{name}.probability", h.architecture.num_heads[stage]),
            probability_zero=self._optional(f"{name}.probability.zero_point"),
            norm=self._norm(f"{name}.norm"),
            rprelu=self._rprelu(f"{name}.rprelu"),
            output=self._residual(f"{name}.output", precision),
            layer_scale=self._layer_scale(f"{name}.layer_scale"),
        )

    def _windows(self, name: str) -> Windows:
        return Windows(
            window=self._header.architecture.window_size,  # type: ignore[attr-defined]  # of families with windows
            summary_mix=self._array(f"{name}.summary.mix"),
            token_norm=self._norm(f"{name}.token_norm", layer=True),
            mix=self._array(f"{name}.mix"),
        )

    def _probability_scale(self, name: str, heads: int) -> Floats | None:
        """A scale for each head, whether the file has one each or one for all."""
        scale = self._optional(f"{name}.alpha")
        scale = self._optional(f"{name}.step") if scale is None else scale
        return None if scale is None else np.ascontiguousarray(np.broadcast_to(scale, heads))

    def _projection(self, name: str, precision: Precision) -> Projection:
        return Projection(
            self._residual(f"{name}.project", precision), self._array(f"{name}.shift"), self._step(f"{name}.activation")
        )

    def _mlp(self, block: str, stage: int, precision: Precision) -> Mlp:
        height, width, shift = self._stencils(f"{block}.shifts", self._header.architecture.embed_dims[stage])
        return Mlp(
            norm_after=self._norm(f"{block}.norm_after"),
            intermediate=self._header.architecture.intermediate_dims[stage],
            reach=len(height) // 2,
            circular=int(self._header.architecture.circular_branches),
            expand=self._residual(f"{block}.mlp.expand", precision),
            project=self._residual(f"{block}.mlp.project", precision),
            layer_scale=self._layer_scale(f"{block}.mlp.layer_scale"),
            height_taps=height,
            width_taps=width,
            branch_shift=shift,
        )

    def _stencils(self, name: str, channels: int) -> tuple[Floats, Floats, Floats]:
        """The branches as taps (2 R + 1, C) along height and width, and the sum (C) of their shifts."""
        directions, branches = self._header.architecture.branch_directions, self._header.architecture.branches
        reach, quarter = max(branches.values(), default=0), channels // 4
        height, width = np.zeros((2, 2 * reach + 1, channels), np.float32)
        shift = np.zeros(channels, np.float32)
        for branch, radius in branches.items():
            for taps, direction in ((height, "height"), (width, "width")):
                rolls = slice(reach - radius, reach + radius + 1)
                taps[rolls] += self._array(f"{name}.{direction}.{branch}.alpha") / np.float32(2 * radius + 1)
            if "quarters" in directions:
                alpha = self._array(f"{name}.quarters.{branch}.alpha")
                moves = ((height, -radius), (height, radius), (width, -radius), (width, radius))
                for q, (taps, offset) in enumerate(moves):  # a roll by +k brings the value k before
                    part = slice(q * quarter, (q + 1) * quarter)
                    taps[reach + offset, part] += alpha[part]
            for direction in directions:
                shift += self._array(f"{name}.{direction}.{branch}.shift")
        return height, width, shift

    def _residual(self, name: str, precision: Precision) -> Residual:
        product = self._product(f"{name}.linear", precision)
        return Residual(product, self._norm(f"{name}.norm"), self._rprelu(f"{name}.rprelu"))

    def _product(self, layer: str, precision: Precision, shift: str | None = None) -> Product:
        groups, columns, taps, channels = self._packed.schema[f"{layer}.weight"].shape
        return Product(
            kind=Kind[precision.name],
            groups=groups,
            columns=columns,
            taps=taps,
            channels=channels,
            step=self._step(f"{layer}.activation"),
            weight=self._packed.kernel_weight(f"{layer}.weight"),
            scale=self._optional(f"{layer}.scale"),
            bias=self._optional(f"{layer}.bias"),
            shift=self._optional(shift or f"{layer}.shift"),
        )

    def _norm(self, name: str, layer: bool = False) -> Norm:
        standardises = layer or self._header.norm == "layer"
        return Norm(int(standardises), self._array(f"{name}.scale"), self._array(f"{name}.shift"))

    def _rprelu(self, name: str) -> RPReLU:
        return RPReLU(*(self._array(f"{name}.{part}") for part in ("shift_in", "slope", "shift_out")))

    def _layer_scale(self, name: str) -> LayerScale | None:
        if not self._header.architecture.has_layer_scale:
            return None
        return LayerScale(self._array(f"{name}.alpha"), self._array(f"{name}.shift"))

    def _step(self, quantizer: str) -> float:
        step = self._optional(f"{quantizer}.step")
        return 1.0 if step is None else float(step)

    def _optional(self, name: str) -> Floats | None:
        return self._array(name) if name in self._packed.tensors else None

    def _array(self, name: str) -> Floats:
        return self._packed.tensors[name]
