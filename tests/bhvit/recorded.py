"""The recorded values of the released implementations, and how to repeat what was recorded.

`reference/` holds numbers only: outputs, gradients and losses of the released code of each family in float64 on the
CPU (BHViT: github ivarvl/bhvit-width-scaling at deb0a35, extending IMRL/BHViT at 4093f5b; BinaryViT: github
Phuoc-Hoan-Le/BinaryViT, main of February 2024). Weights and inputs are regenerated from released names.

One deliberate difference: the released sign activation gives sign(0) = 0, ours +1. The recorded values contain no exact
zero that matters.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bhvit import ArchitectureConfig, PrecisionPlan
from bhvit.binaryvit.architecture import BinaryViTConfig
from bhvit.checkpoint import load_reference_state_dict, reference_state_dict
from bhvit.families import family_of
from bhvit.pyramid import Pyramid
from bhvit.released_names import released_names
from bhvit.staged import PyramidArchitecture

REFERENCE = Path(__file__).parent / "reference"
Variant = Mapping[str, Any]


@dataclass(frozen=True)
class Inputs:
    images: Tensor
    labels: Tensor | None
    teacher: Tensor


@dataclass(frozen=True)
class Recording:
    """What differs between the recordings of the families.

    `loss` is that of one training pass (logits, inputs), `step` the learning rate and weight decay of AdamW and the
    loss of three steps (model, logits, inputs): the total and what else was recorded. `place` brings a map
    (B, r, r, C) into the recorded layout; `norm_below` is where gradient norms count as 0 (then compared absolutely).
    """

    folder: str
    architecture: Callable[[Variant], PyramidArchitecture]
    place: Callable[[Tensor], Tensor]
    has_labels: bool
    loss: Callable[[Tensor, Inputs], Tensor]
    step: Callable[[Pyramid, Tensor, Inputs], tuple[Tensor, ...]]
    learning_rate: float
    weight_decay: float

    @property
    def variants(self) -> dict[str, Variant]:
        return json.loads((REFERENCE / self.folder / "variants.json").read_text())

    def values(self, variant: str) -> dict[str, np.ndarray]:
        with np.load(REFERENCE / self.folder / f"{variant}.npz", allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    def keys(self) -> list[str]:
        """Variants whose released names and shapes were recorded."""
        return [path.name.removesuffix(".keys.json") for path in (REFERENCE / self.folder).glob("*.keys.json")]

    def released_shapes(self, variant: str) -> dict[str, list[int]]:
        return json.loads((REFERENCE / self.folder / f"{variant}.keys.json").read_text())

    def model(self, variant: str) -> Pyramid:
        """The variant's model in float64 with the weights that were recorded."""
        v = self.variants[variant]
        plan = PrecisionPlan.uniform("binary" if v["wbits"] == 1 else "fp32")
        if v["some_fp"]:
            plan = plan.with_layers("downsample*", "fp16")
        architecture = self.architecture(v)
        family = family_of(architecture)
        model = family.build_model(architecture, plan, norm=v["norm"], recu=v.get("recu", False)).double()
        shapes = {name: tuple(value.shape) for name, value in reference_state_dict(model).items()}
        load_reference_state_dict(model, {name: generated(name, shape, v) for name, shape in shapes.items()})
        return model

    def inputs(self, variant: str) -> Inputs:
        v = self.variants[variant]
        r = np.random.RandomState(v["seed"] + 1000)
        images = r.standard_normal((v["batch"], 3, v["image"], v["image"]))
        labels = torch.as_tensor(r.randint(0, v["classes"], v["batch"])) if self.has_labels else None
        teacher = r.standard_normal((v["batch"], v["classes"]))
        return Inputs(torch.as_tensor(images), labels, torch.as_tensor(teacher))


def generated(name: str, shape: tuple[int, ...], v: Variant) -> Tensor:
    """The tensor that stands under a released name in every recorded run."""
    n = np.random.RandomState(zlib.crc32(f"{v['seed']}:{name}".encode())).standard_normal(shape)
    last = name.rpartition(".")[2]
    if last == "num_batches_tracked":
        return torch.tensor(0)
    if last == "init_state":
        return torch.ones(shape)
    return torch.as_tensor(_value(name, last, np.asarray(n), v.get("weight_std", 0.05)), dtype=torch.float64)


def _value(name: str, last: str, n: np.ndarray, weight_std: float) -> np.ndarray:
    if last == "running_var":
        return 0.5 + np.abs(n)
    if last == "att_prob_clip":
        return 0.008 + 0.01 * np.abs(n)
    if "att_prob_quantizer.alpha" in name:
        return 0.3 + 0.1 * np.abs(n)
    if "att_prob_quantizer.zero_point" in name:
        return 0.05 * n
    if last == "weight" and n.ndim == 1:
        return (0.25 if "prelu" in name else 1.0) + 0.1 * n
    return (weight_std if last == "weight" else 0.1) * n


def distillation(logits: Tensor, inputs: Inputs) -> Tensor:
    return -(inputs.teacher.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()


def _bhvit_architecture(v: Variant) -> ArchitectureConfig:
    shifts = [n for n in (3, 5) if v[f"shift{n}"]]
    return ArchitectureConfig.from_lists(
        v["hidden"], v["intermediate"], v["depths"], v["heads"], v["image"], v["window"], v["classes"], shifts
    )


def _bhvit_loss(logits: Tensor, inputs: Inputs) -> Tensor:
    return 0.8 * distillation(logits, inputs) + 0.2 * F.cross_entropy(logits, inputs.labels)


def _bhvit_step(model: Pyramid, logits: Tensor, inputs: Inputs) -> tuple[Tensor, ...]:
    regularizer = model.weight_regularizer(include_downsampling=False)
    loss = 0.1 * F.cross_entropy(logits, inputs.labels) + 0.8 * distillation(logits, inputs) + 0.1 * regularizer
    return loss, regularizer


def _binaryvit_architecture(v: Variant) -> BinaryViTConfig:
    return BinaryViTConfig.from_lists(
        *(v["hidden"], v["intermediate"], v["depths"], v["heads"]),
        image_size=v["image"],
        num_classes=v["classes"],
        reductions=v["reduction"],
        pools=[n for n in (3, 5) if v[f"avg_res{n}"]],
        layer_scale=v["layerscale"],
    )


RECORDINGS = (
    Recording(
        "bhvit", _bhvit_architecture, lambda x: x.permute(0, 3, 1, 2), True, _bhvit_loss, _bhvit_step, 1e-3, 0.05
    ),
    Recording(
        *("binaryvit", _binaryvit_architecture, lambda x: x.flatten(1, 2), False, distillation),
        *(lambda model, logits, inputs: (distillation(logits, inputs),), 5e-4, 0.0),
    ),
)


def places_of(recording: Recording, model: Pyramid, images: Tensor) -> dict[str, Tensor]:
    """Output of every recorded place in the recorded layout, and the logits, in evaluation mode."""
    places: dict[str, Tensor] = {}

    def keep(place: str):
        return lambda module, args, out: places.__setitem__(place, recording.place(out))

    hooks = [model.stem.register_forward_hook(keep("embeddings"))]
    hooks += [m.register_forward_hook(keep(f"downsample{i + 1}")) for i, m in enumerate(model.downsamples)]
    blocks = [block for stage in model.stages for block in stage]
    hooks += [m.register_forward_hook(keep(f"block{i}")) for i, m in enumerate(blocks)]
    with torch.no_grad():
        places["logits"] = model.eval()(images)
    for hook in hooks:
        hook.remove()
    return places


def gradients_of(model: Pyramid) -> dict[str, Tensor]:
    """Gradients under the released names and shapes."""
    names, parameters = released_names(model), dict(model.named_parameters())
    return {names[ours].name: names[ours].layout.pack(p.grad) for ours, p in parameters.items() if p.grad is not None}


def train_losses(recording: Recording, model: Pyramid, inputs: Inputs, steps: int) -> list[list[float]]:
    """Loss, and what else was recorded, of each of some AdamW steps."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=recording.learning_rate, weight_decay=recording.weight_decay)
    losses = []
    model.train()
    for _ in range(steps):
        loss, *more = recording.step(model, model(inputs.images), inputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append([loss.item(), *(value.item() for value in more)])
    return losses


def deviations(recording: Recording, variant: str) -> dict[str, float]:
    """Largest deviation from the recorded values by kind, relative to max(1, largest recorded magnitude)."""
    values, inputs = recording.values(variant), recording.inputs(variant)
    places = places_of(recording, recording.model(variant), inputs.images)
    found: dict[str, float] = {"logits": _distance(places["logits"], values["logits_eval"])}
    for name in values:
        kind, _, place = name.partition("/")
        if kind == "eval_stats":
            x = places[place]
            stats = torch.stack((x.mean(), x.abs().mean(), x.std(correction=0)))
            _worst(found, "stages", _distance(stats, values[name]))
        if kind == "eval_head":
            _worst(found, "stages", _distance(places[place].flatten()[:64], values[name]))
    if "logits_train" in values:
        model = recording.model(variant).train()
        logits = model(inputs.images)
        loss = recording.loss(logits, inputs)
        loss.backward()
        found["train logits"] = _distance(logits.detach(), values["logits_train"])
        found["train loss"] = _distance(loss.detach(), values["loss_train"])
        gradients = gradients_of(model)
        assert set(gradients) == set(values["grad_names"].tolist())
        norms = torch.stack([gradients[name].norm() for name in values["grad_names"].tolist()])
        found["gradient norms"] = _distance(norms, values["grad_norms"])
        for name in values:
            if name.startswith("grad/"):
                _worst(found, "gradients", _distance(gradients[name[5:]], values[name]))
            if name.startswith("grad_head/"):
                _worst(found, "gradients", _distance(gradients[name[10:]].flatten()[:64], values[name]))
    if "train_losses" in values:
        losses = train_losses(recording, recording.model(variant), inputs, len(values["train_losses"]))
        found["three losses"] = _distance(torch.tensor(losses, dtype=torch.float64), values["train_losses"])
    return found


def _distance(ours: Tensor, theirs: np.ndarray) -> float:
    expected = torch.as_tensor(np.asarray(theirs), dtype=torch.float64).reshape(ours.shape)
    return float((ours - expected).abs().max() / max(1.0, float(expected.abs().max())))


def _worst(found: dict[str, float], kind: str, value: float) -> None:
    found[kind] = max(found.get(kind, 0.0), value)
