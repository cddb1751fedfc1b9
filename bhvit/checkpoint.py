"""Weights in and out: our safetensors files, and the names of the released checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bhvit.errors import InvalidInput
from bhvit.family_model import FamilyModel
from bhvit.layer_terms import HEAD, STEM
from bhvit.precision import real_width
from bhvit.released_names import released_names
from bhvit.whole_files import write_with

LISTED_DIFFERENCES = 20


def reference_state_dict(model: FamilyModel) -> dict[str, Tensor]:
    """The state of `model` under the names and shapes of the released checkpoints (views where possible).

    Raises `InvalidInput` for models with layers that are neither binary nor real-valued: the released code has none.
    """
    state = model.state_dict()
    return {released.name: released.layout.pack(state[ours]) for ours, released in released_names(model).items()}


def load_reference_state_dict(model: FamilyModel, state_dict: Mapping[str, Tensor]) -> None:
    """Load a released checkpoint's `state_dict` into `model`.

    Raises `InvalidInput` with the list of missing, unexpected and ill-shaped tensors where the two do not match
    exactly; the model is then unchanged.
    """
    state = model.state_dict()
    _check_same_tensors("the released state dict", state_dict, reference_state_dict(model))
    model.load_state_dict(
        {
            ours: released.layout.unpack(state_dict[released.name], state[ours])
            for ours, released in released_names(model).items()
        }
    )


def save_weights(model: nn.Module, path: Path | str, metadata: Mapping[str, str] | None = None) -> None:
    """Write the state of `model` to the safetensors file `path`, whole or not at all, with texts as `metadata`."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_with(Path(path), lambda temporary: save_file(tensors, temporary, metadata=dict(metadata or {})))


def load_weights(model: nn.Module, path: Path | str) -> dict[str, str]:
    """Load the safetensors file `path` into `model` and give the metadata stored with it.

    Raises `InvalidInput` naming the file where it is missing, truncated or corrupt, or where its tensors are not
    exactly those of `model`; the model is then unchanged.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except (OSError, SafetensorError) as error:
        raise InvalidInput(
            f"{path} must be a complete safetensors file, but {' '.join(str(error).split())}; restore it from a copy, "
            "or delete it and train again."
        ) from error
    _check_same_tensors(str(path), tensors, model.state_dict())
    model.load_state_dict(tensors)
    return metadata


@torch.no_grad()
def round_to_stored_precision(model: FamilyModel) -> None:
    """Round, in place, every weight that is stored in half precision to the nearest half.

    These are the convolution and linear weights of fp16 layers, and of stem and head unless the whole plan is fp32
    (`bhvit.precision.real_width`). Everything else is stored in fp32. Raises `InvalidInput`, before any weight is
    touched, where a weight is too large for half precision (beyond 65504).
    """
    real = real_width(model.layers)
    precisions = {STEM: real, **model.layers, HEAD: real}
    halves = [
        (address, layer.weight)
        for address, layers in model.weight_layers.items()
        for layer in layers
        if precisions[address].name == "fp16"
    ]
    for address, weight in halves:
        if not weight.is_meta and not bool(weight.half().isfinite().all()):
            raise InvalidInput(
                f"weights stored in fp16 must be finite and at most 65504, but {address} has some up to "
                f"{float(weight.abs().max()):.3g}; train with a lower learning rate, or give the layer fp32."
            )
    for _, weight in halves:
        weight.copy_(weight.half())


def _check_same_tensors(source: str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    differences = [f"missing {name}" for name in expected if name not in found]
    differences += [f"unexpected {name}" for name in found if name not in expected]
    differences += [
        f"{name} has shape {tuple(found[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in found and found[name].shape != value.shape
    ]
    if differences:
        more = len(differences) - LISTED_DIFFERENCES
        listed = "; ".join(differences[:LISTED_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
        raise InvalidInput(
            f"{source} must hold exactly the tensors of the model, but there are {len(differences)} differences: "
            f"{listed}. Build the model with the architecture, norm and precision plan that the weights come from."
        )
