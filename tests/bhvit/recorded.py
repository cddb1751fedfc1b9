"""The recorded values of the released implementation, and how to repeat what was recorded.

`reference/` holds numbers only: outputs, gradients and losses of the released code (github ivarvl/bhvit-width-scaling
at deb0a35, extending IMRL/BHViT at 4093f5b) in float64 on the CPU. Weights and inputs are regenerated from released
names.

One deliberate difference: the released sign activation gives sign(0) = 0, ours +1. The recorded values contain no exact
zero that matters.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bhvit import ArchitectureConfig, PrecisionPlan
from bhvit.checkpoint import load_reference_state_dict, reference_state_dict
from bhvit.model import BHViT, build_model
from bhvit.released_names import released_names

REFERENCE = Path(__file__).parent / "reference"
VARIANTS = json.loads((REFERENCE / "variants.json").read_text())


@dataclass(frozen=True)
class Inputs:
    images: Tensor
    labels: Tensor
    teacher: Tensor


def recorded(variant: str) -> dict[str, np.ndarray]:
    with np.load(REFERENCE / f"{variant}.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def architecture_of(variant: str) -> ArchitectureConfig:
    v = VARIANTS[variant]
    shifts = [n for n in (3, 5) if v[f"shift{n}"]]
    return ArchitectureConfig.from_lists(
        v["hidden"], v["intermediate"], v["depths"], v["heads"], v["image"], v["window"], v["classes"], shifts
    )


def model_of(variant: str) -> BHViT:
    """The variant's model in float64 with the weights that were recorded."""
    v = VARIANTS[variant]
    plan = PrecisionPlan.uniform("binary" if v["wbits"] == 1 else "fp32")
    if v["some_fp"]:
        plan = plan.with_layers("downsample*", "fp16")
    model = build_model(architecture_of(variant), plan, norm=v["norm"], recu=v["recu"]).double()
    shapes = {name: tuple(value.shape) for name, value in reference_state_dict(model).items()}
    load_reference_state_dict(model, {name: generated(name, shape, v["seed"]) for name, shape in shapes.items()})
    return model


def generated(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """The tensor that stands under a released name in every recorded run."""
    n = np.random.RandomState(zlib.crc32(f"{seed}:{name}".encode())).standard_normal(shape)
    last = name.rpartition(".")[2]
    if last == "num_batches_tracked":
        return torch.tensor(0)
    if last == "init_state":
        return torch.ones(shape)
    return torch.as_tensor(_value(name, last, n), dtype=torch.float64)


def _value(name: str, last: str, n: np.ndarray) -> np.ndarray:
    if last == "running_var":
        return 0.5 + np.abs(n)
    if "att_prob_quantizer.alpha" in name:
        return 0.3 + 0.1 * np.abs(n)
    if "att_prob_quantizer.zero_point" in name:
        return 0.05 * n
    if last == "weight" and n.ndim == 1:
        return (0.25 if "prelu" in name else 1.0) + 0.1 * n
    return (0.05 if last == "weight" else 0.1) * n


def inputs_of(variant: str) -> Inputs:
    v = VARIANTS[variant]
    r = np.random.RandomState(v["seed"] + 1000)
    images = r.standard_normal((v["batch"], 3, v["image"], v["image"]))
    labels = r.randint(0, v["classes"], v["batch"])
    teacher = r.standard_normal((v["batch"], v["classes"]))
    return Inputs(torch.as_tensor(images), torch.as_tensor(labels), torch.as_tensor(teacher))


def places_of(model: BHViT, images: Tensor) -> dict[str, Tensor]:
    """Output (B, C, r, r) of every recorded place, and the logits, in evaluation mode."""
    places: dict[str, Tensor] = {}

    def keep(place: str):
        return lambda module, args, out: places.__setitem__(place, out.permute(0, 3, 1, 2))

    hooks = [model.stem.register_forward_hook(keep("embeddings"))]
    hooks += [m.register_forward_hook(keep(f"downsample{i + 1}")) for i, m in enumerate(model.downsamples)]
    blocks = [block for stage in model.stages for block in stage]
    hooks += [m.register_forward_hook(keep(f"block{i}")) for i, m in enumerate(blocks)]
    with torch.no_grad():
        places["logits"] = model.eval()(images)
    for hook in hooks:
        hook.remove()
    return places


def distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    return -(teacher.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()


def train_pass(model: BHViT, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Logits and loss of one training pass; gradients are left in the parameters."""
    logits = model.train()(inputs.images)
    loss = 0.8 * distillation(logits, inputs.teacher) + 0.2 * F.cross_entropy(logits, inputs.labels)
    model.zero_grad(set_to_none=True)
    loss.backward()
    return logits.detach(), loss.detach()


def gradients_of(model: BHViT) -> dict[str, Tensor]:
    """Gradients under the released names and shapes."""
    names, parameters = released_names(model), dict(model.named_parameters())
    return {names[ours].name: names[ours].layout.pack(p.grad) for ours, p in parameters.items() if p.grad is not None}


def train_losses(model: BHViT, inputs: Inputs, steps: int) -> list[tuple[float, float]]:
    """Total loss and weight regulariser of each of some AdamW steps."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    losses = []
    model.train()
    for _ in range(steps):
        logits = model(inputs.images)
        regularizer = model.weight_regularizer(include_downsampling=False)
        loss = 0.1 * F.cross_entropy(logits, inputs.labels) + 0.8 * distillation(logits, inputs.teacher)
        loss = loss + 0.1 * regularizer
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append((loss.item(), regularizer.item()))
    return losses


def deviations(variant: str) -> dict[str, float]:
    """Largest deviation from the recorded values by kind, relative to max(1, largest recorded magnitude)."""
    values, inputs, v = recorded(variant), inputs_of(variant), VARIANTS[variant]
    places = places_of(model_of(variant), inputs.images)
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
        model = model_of(variant)
        logits, loss = train_pass(model, inputs)
        found["train logits"] = _distance(logits, values["logits_train"])
        found["train loss"] = _distance(loss, values["loss_train"])
        gradients = gradients_of(model)
        assert set(gradients) == set(values["grad_names"].tolist())
        norms = torch.stack([gradients[name].norm() for name in values["grad_names"].tolist()])
        found["gradient norms"] = _distance(norms, values["grad_norms"])
        for name in values:
            if name.startswith("grad/"):
                _worst(found, "gradients", _distance(gradients[name[5:]], values[name]))
    if "train_losses" in values:
        losses = train_losses(model_of(variant), inputs, v["train_steps"])
        found["three losses"] = _distance(torch.tensor(losses, dtype=torch.float64), values["train_losses"])
    return found


def _distance(ours: Tensor, theirs: np.ndarray) -> float:
    expected = torch.as_tensor(np.asarray(theirs), dtype=torch.float64).reshape(ours.shape)
    return float((ours - expected).abs().max() / max(1.0, float(expected.abs().max())))


def _worst(found: dict[str, float], kind: str, value: float) -> None:
    found[kind] = max(found.get(kind, 0.0), value)
