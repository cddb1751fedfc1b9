"""The training loss: labels, teacher and weight regulariser, mixed by shares that sum to one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from searcher.recipe import LossWeights


@dataclass(frozen=True)
class LossShares:
    """Weights of the three terms in one epoch; they sum to 1."""

    labels: float
    distillation: float
    regularizer: float


def loss_shares(weights: LossWeights, *, epoch: int, epochs: int, distils: bool, regularizes: bool) -> LossShares:
    """The shares in epoch `epoch` (from 0) of `epochs`.

    Without a teacher (`distils` false) lambda is 0 and its share goes to the labels, whose term is then of the same
    size as in training with labels alone. The regulariser's share acts beyond `regularizer_from` of the epochs, and
    never where there is nothing to regularise (`regularizes` false: phase 1, models without a binary layer).
    """
    distillation = weights.distillation if distils else 0.0
    late = epoch + 1 > round(weights.regularizer_from * epochs, 9)
    regularizer = weights.regularizer if regularizes and late else 0.0
    return LossShares(1 - distillation - regularizer, distillation, regularizer)


def label_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of logits (B, classes) against target distributions (B, classes), mean over the batch."""
    return F.cross_entropy(_single(logits), _single(targets))


def distillation_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Cross-entropy of the student's logits against the teacher's softmax, both (B, classes), temperature 1."""
    return F.cross_entropy(_single(logits), _single(teacher_logits).softmax(dim=-1))


def combined_loss(
    shares: LossShares,
    logits: Tensor,
    targets: Tensor,
    teacher_logits: Tensor | None = None,
    regularizer: Tensor | None = None,
) -> Tensor:
    """(1 - lambda - beta) CE + lambda KD + beta L_re (van Loon 2026); a term is required where its share is not 0."""
    loss = shares.labels * label_loss(logits, targets)
    if shares.distillation:
        assert teacher_logits is not None
        loss = loss + shares.distillation * distillation_loss(logits, teacher_logits)
    if shares.regularizer:
        assert regularizer is not None
        loss = loss + shares.regularizer * regularizer
    return loss


def _single(values: Tensor) -> Tensor:
    """`values` in float32 where mixed precision left them narrower."""
    return values.float() if values.dtype.itemsize < torch.float32.itemsize else values
