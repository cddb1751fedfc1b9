"""A whole phase 2 of 20 steps in float64, written out by formula, and its recording.

Recorded with `python -m tests.searcher.record_trajectory` (torch 2.15 on the CPU, one thread, 2026-11-24) into
`reference/trajectory.json`: loss, learning rate, regulariser and three norms of every step, and of every parameter
after the last step its norm and a random projection. Nothing here uses `searcher`, timm or torch.optim: AdamW,
schedule, loss, regulariser and parameter groups are the formulas of the published recipe. Only the network is ours
(`bhvit.model`, which has recorded values of its own). Ten epochs of two steps, so that beta acts in the last two.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bhvit.family_model import FamilyModel
from bhvit.precision import PrecisionPlan
from tests.searcher.architectures import build, thin_architecture

RECORDING = Path(__file__).parent / "reference" / "trajectory.json"
EPOCHS, STEPS, BATCH, CLASSES, SIZE = 10, 2, 4, 5, 96
RATE, LEAST, WARMUP_EPOCHS, WARMUP_RATE, DECAY = 5e-4, 1e-8, 3, 1e-6, 0.05
LAMBDA, BETA, BETA_FROM_EPOCH = 0.8, 0.1, 9  # of the epochs 0..9, the last
FOLLOWED = ("stem.conv.weight", "stages.2.0.mixer.query.project.linear.weight", "stages.0.0.mixer.rprelus.1.slope")
DECAYED = re.compile(r".*(conv|convs\.\d|linear)\.weight")
REAL_LAYERS = ("stem.conv.weight", "downsamples.1.conv.weight", "head.linear.weight")  # the others are binary


def network() -> FamilyModel:
    """A small binary one with an fp16 layer, in float64; initial values from NumPy, whose old generator is frozen."""
    shape = thin_architecture([8, 16, 16, 32], [16, 16, 16, 32], image_size=SIZE, num_classes=CLASSES)
    model: FamilyModel = build(shape, PrecisionPlan.uniform("binary").with_layers("downsample2", "fp16")).double()
    random = np.random.RandomState(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.from_numpy(random.standard_normal(tuple(parameter.shape)))
            if parameter.dim() == 1:
                parameter.add_(0.01 * noise)
            else:
                parameter.copy_(0.5 / math.sqrt(parameter[0].numel()) * noise)
    return model


def batch(epoch: int, step: int) -> tuple[Tensor, Tensor]:
    """Images (4, 3, 96, 96) and target distributions (4, 5)."""
    random = np.random.RandomState(100 + epoch * STEPS + step)
    images, targets = random.standard_normal((BATCH, 3, SIZE, SIZE)), random.dirichlet([0.5] * CLASSES, BATCH)
    return torch.from_numpy(images), torch.from_numpy(targets)


def teacher_logits(images: Tensor) -> Tensor:
    """A fixed function (4, 3, 96, 96) -> (4, 5): the colours' mean and deviation, projected."""
    weights = torch.from_numpy(np.random.RandomState(2).standard_normal((6, CLASSES)))
    return torch.cat([50 * images.mean((2, 3)), images.std((2, 3))], 1) @ weights


def projections(parameters: dict[str, Tensor]) -> dict[str, list[float]]:
    """Norm and a random projection of each parameter."""
    random = np.random.RandomState(3)
    return {
        name: [float(p.detach().norm()), float(p.detach().numpy().ravel() @ random.standard_normal(p.numel()))]
        for name, p in parameters.items()
    }


def rate_of(epoch: int) -> float:
    """Linear from 1e-6 over the warm-up epochs, then the cosine over all epochs."""
    if epoch < WARMUP_EPOCHS:
        return WARMUP_RATE + (RATE - WARMUP_RATE) * epoch / WARMUP_EPOCHS
    return LEAST + (RATE - LEAST) * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2


def regularizer_of(parameters: dict[str, Tensor]) -> Tensor:
    """Mean over the binary layers of mean ||w| - 1|."""
    binary = [w for name, w in parameters.items() if DECAYED.fullmatch(name) and name not in REAL_LAYERS]
    return sum(((w.abs() - 1).abs().sum() / w.numel() for w in binary), torch.zeros(())) / len(binary)


def trajectory() -> dict[str, Any]:
    """Train the network; returns what is recorded."""
    model = network().train()
    parameters = dict(model.named_parameters())
    first = {name: torch.zeros_like(p) for name, p in parameters.items()}
    second = {name: torch.zeros_like(p) for name, p in parameters.items()}
    steps = []
    for t in range(1, EPOCHS * STEPS + 1):
        epoch, step = divmod(t - 1, STEPS)
        images, targets = batch(epoch, step)
        z = model(images)
        log_p = z - z.exp().sum(1, keepdim=True).log()
        q = teacher_logits(images).exp()
        ce = -(targets * log_p).sum() / BATCH
        kd = -(q / q.sum(1, keepdim=True) * log_p).sum() / BATCH
        regularizer, beta = regularizer_of(parameters), BETA if epoch >= BETA_FROM_EPOCH else 0.0
        loss = (1 - LAMBDA - beta) * ce + LAMBDA * kd + beta * regularizer
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        rate = rate_of(epoch)
        with torch.no_grad():
            for (name, p), g in zip(parameters.items(), gradients, strict=True):
                if DECAYED.fullmatch(name):
                    p -= rate * DECAY * p
                first[name] = 0.9 * first[name] + 0.1 * g
                second[name] = 0.999 * second[name] + 0.001 * g * g
                p -= rate * (first[name] / (1 - 0.9**t)) / ((second[name] / (1 - 0.999**t)).sqrt() + 1e-8)
        norms = {name: float(parameters[name].detach().norm()) for name in FOLLOWED}
        steps.append(
            {"loss": float(loss.detach()), "rate": rate, "regularizer": float(regularizer.detach()), "norms": norms}
        )
    return {"steps": steps, "final": projections(parameters)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    RECORDING.parent.mkdir(exist_ok=True)
    RECORDING.write_text(json.dumps(trajectory(), indent=1) + "\n")
