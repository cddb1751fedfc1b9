"""From a torch model to a packed file: weights to signs and levels, all constants folded in float64."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bhvit.export.constants import Stepped, folded, require_trained, step_of, weight_of
from bhvit.family_model import FamilyModel, WeightLayer
from bhvit.layers import QuantConv2d, QuantLinear
from bhvit.layers.norm import TokenBatchNorm
from bhvit.quantizers.learned_step import LearnedStep
from bhvit.runtime import packed_file
from bhvit.runtime.families import packed_family_of
from bhvit.runtime.schema import Header, tensors_of
from bhvit.staged import PyramidArchitecture

Array = NDArray[Any]
_DTYPES = {"f32": np.float32, "f16": np.float16}


def pack(model: FamilyModel, path: Path | str, class_names: Sequence[str] | None = None, **preparation: Any) -> Header:
    """Write what `model` computes in evaluation to the packed file `path`, and give its header.

    `class_names` are stored with it; `preparation` says how its images are prepared, in fields of
    `bhvit.runtime.schema.Header` (mean, std, crop_pct, interpolation), where that is not as in our training.
    Raises `InvalidInput` for a model whose quantizers never saw a training batch, and for values that cannot be stored.
    """
    header = header_of(model, class_names, **preparation)
    packed_file.write(path, header, arrays_of(model))
    return header


def header_of(model: FamilyModel, class_names: Sequence[str] | None = None, **preparation: Any) -> Header:
    """The header of a packed `model`; arguments as of `pack`. Raises `InvalidInput` for a family that has none."""
    classes = None if class_names is None else tuple(class_names)
    architecture = model.architecture
    packed_family_of(architecture)
    return Header(
        cast(PyramidArchitecture, architecture), tuple(model.layers.values()), model.norm, classes, **preparation
    )


@torch.no_grad()
def arrays_of(model: FamilyModel) -> dict[str, Array]:
    """The tensors of a packed `model` in their natural form, as `packed_file.write` takes them."""
    require_trained(model)
    wide: dict[str, Array] = {}
    factors: dict[str, Array] = {}  # of quantized layers: what their accumulators are to be multiplied by
    for name, module in model.named_modules():
        if isinstance(module, WeightLayer):
            wide[f"{name}.weight"], factor = _weight(module)
            if factor is not None:
                factors[name] = factor * _step_of(module)
        elif isinstance(module, (TokenBatchNorm, nn.LayerNorm)):
            wide[f"{name}.scale"], wide[f"{name}.shift"] = _norm(module)
        elif isinstance(module, Stepped):
            wide[f"{name}.step"] = _double(step_of(module))
    tensors = tensors_of(header_of(model))
    stored = {t.name for t in tensors}
    for layer, factor in factors.items():
        name = f"{layer}.scale" if f"{layer}.scale" in stored else f"{layer.rpartition('.')[0]}.norm.scale"
        wide[name] = wide.get(name, 1) * factor
    state = model.state_dict()
    wide |= {t.name: _double(state[t.name]) for t in tensors if t.name not in wide}
    with np.errstate(over="ignore"):  # what is too large for its format is refused by the writer
        return {t.name: wide[t.name].astype(_DTYPES.get(t.item, np.int8)) for t in tensors}


def _weight(layer: WeightLayer) -> tuple[Array, Array | None]:
    """The weight in its natural form, and for a quantized one the scale of each column."""
    stored = None
    if isinstance(layer, (QuantLinear, QuantConv2d)) and not layer.precision.real_valued:
        stored = weight_of(layer)
    values, groups = layer.weight.detach() if stored is None else stored.levels, getattr(layer, "groups", 1)
    taps = layer.weight[0, 0].numel() if isinstance(layer, QuantConv2d) else 1  # the stem's patches are one tap
    rows = values.cpu().numpy().reshape(len(values), -1, taps)
    natural = rows.swapaxes(1, 2).reshape(groups, -1, taps, rows.shape[1])
    return natural, None if stored is None else _double(stored.scale)


def _step_of(layer: WeightLayer) -> Array | float:
    activation = getattr(layer, "activation", None)
    return _double(step_of(activation)) if isinstance(activation, LearnedStep) else 1.0


def _norm(norm: TokenBatchNorm | nn.LayerNorm) -> tuple[Array, Array]:
    """Scale and shift: of layer norm as they are, of batch norm with its running statistics folded in."""
    scale, shift = folded(norm) if isinstance(norm, TokenBatchNorm) else (norm.weight, norm.bias)
    return _double(scale), _double(shift)


def _double(x: Tensor) -> Array:
    return x.detach().double().cpu().numpy()
