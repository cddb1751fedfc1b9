"""Packed models for tests: torch models with nothing left at 0 or 1, and what is available to run them."""

from __future__ import annotations

import ctypes

import torch
from torch import nn

from bhvit.blocks.attention import Attention
from bhvit.blocks.summary_tokens import SummaryTokens
from bhvit.checkpoint import round_to_stored_precision
from bhvit.layers import LayerScale, RPReLU
from bhvit.layers.norm import TokenBatchNorm
from bhvit.model import BHViT
from bhvit.quantizers.probability import ProbabilityDecomposition
from bhvit.runtime import native


def randomised(model: BHViT, seed: int, batch: int = 4) -> BHViT:
    """`model` in evaluation mode with random constants everywhere, and the statistics of one training batch."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            kind = name.rpartition(".")[2]
            if kind in ("shift", "shift_in", "shift_out", "bias", "position"):
                parameter.normal_(0, 0.3)
        for module in model.modules():
            if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
                module.weight.normal_(1, 0.3).mul_(torch.where(torch.rand_like(module.weight) < 0.1, -1, 1))
            elif isinstance(module, RPReLU):
                module.slope.normal_(0.25, 0.2)
            elif isinstance(module, LayerScale):
                module.alpha.normal_(0.2, 0.2)
            elif isinstance(module, SummaryTokens | Attention):
                module.mix.normal_(0.5, 0.3)
            if isinstance(module, TokenBatchNorm):
                module.momentum = 1.0
        side = model.architecture.image_size
        model.train()(torch.randn(batch, 3, side, side))
        for module in model.modules():
            if isinstance(module, TokenBatchNorm):
                module.running_mean.add_(torch.randn_like(module.running_mean) * module.running_var.sqrt() * 0.1)
                module.running_var.mul_(torch.rand_like(module.running_var) * 0.5 + 0.75)
            elif isinstance(module, ProbabilityDecomposition):
                module.zero_point.normal_(0, 0.3)
    round_to_stored_precision(model)
    return model.eval()


def core() -> ctypes.CDLL | None:
    """The compiled core, or None where there is none."""
    path = native.library_path()
    return None if path is None else native.load_library(path)


def runtimes() -> list[str]:
    """Names of all that can run a packed model here."""
    library = core()
    return ["numpy", *(native.instruction_sets(library) if library else [])]
