"""Loss and accuracy of a model on a split."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from searcher.devices import mixed_precision
from searcher.records import ClassResult, Evaluation


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    classes: tuple[str, ...],
    split: str,
    device: torch.device,
    amp: str,
) -> Evaluation:
    """Run `model` in evaluation mode over (images, labels); the model stays in that mode."""
    model.eval()
    loss = torch.zeros((), device=device)
    seen = torch.zeros(len(classes), dtype=torch.long, device=device)
    right = torch.zeros_like(seen)
    with torch.inference_mode():
        for images, labels in batches:
            with mixed_precision(device, amp):
                logits = model(images).float()
            loss += F.cross_entropy(logits, labels, reduction="sum")
            seen += torch.bincount(labels, minlength=len(classes))
            right += torch.bincount(labels[logits.argmax(dim=1) == labels], minlength=len(classes))
    total = int(seen.sum())
    counts = zip(classes, right.tolist(), seen.tolist(), strict=True)
    return Evaluation(
        split=split,
        accuracy=int(right.sum()) / total,
        loss=float(loss) / total,
        images=total,
        per_class=tuple(ClassResult(name, n, r / n if n else 0.0) for name, r, n in counts),
    )
