"""Whether a runtime computes what PyTorch computes: logits of the same images, compared as binary networks allow.

In a binary network a rounding difference of 1e-7 can turn a sign, and then the logits of that image move visibly, with
correct arithmetic on both sides; in wide networks that happens in every image. So the judge is PyTorch in float64, and
a runtime passes where it stands as well to it as PyTorch's own float32 does: as many images with the same largest class
and with logits that are equal up to rounding (less what chance explains), and deviations of the same order. A graph
with a mistake in it has no equal image; where float32 has none either, as in wide networks, the check sees coarse
mistakes alone. Models without quantized layers have no such excuse: every deviation must be rounding.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bhvit.export.agreement import Agreement
from bhvit.export.onnx_graph import INPUT
from bhvit.family_model import FamilyModel
from bhvit.precision import any_quantized

BATCH = 8
ROUNDING = 1e-5  # of the largest logit
SAME_ORDER = 10.0
CHANCE = 3.0  # standard deviations by which two counts of images may differ

Logits = NDArray[np.float64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Reference:
    """What PyTorch gives in float64 (the judge) and in float32, for `images` (n, 3, S, S)."""

    images: Tensor
    judge: Logits
    float32: Logits
    quantized: bool

    @property
    def rounding(self) -> float:
        """What float32 may make of a logit."""
        return ROUNDING * float(max(1.0, np.abs(self.judge).max()))

    def agreement(self, logits: Logits) -> Agreement:
        """How other logits of the same images stand to the judge's."""
        deviations = np.abs(logits - self.judge).max(1)
        same = int((logits.argmax(1) == self.judge.argmax(1)).sum())
        equal = int((deviations <= SAME_ORDER * self.rounding).sum())
        return Agreement(len(logits), same, equal, float(np.median(deviations)), float(deviations.max()))

    def first(self, count: int) -> Reference:
        """The same of the first images alone."""
        return Reference(self.images[:count], self.judge[:count], self.float32[:count], self.quantized)

    def problem(self, logits: Logits) -> str | None:
        """Why these logits are not those of the model; None where they are."""
        found, ours, n = self.agreement(logits), self.agreement(self.float32), len(logits)
        if not np.isfinite(logits).all():
            return "some of its logits are not finite"
        deviation = found.median if self.quantized else found.largest
        if deviation > SAME_ORDER * ours.largest + self.rounding:
            return f"its logits deviate by {deviation:.2g} (PyTorch's float32: at most {ours.largest:.2g})"
        if found.equal < _fewest(ours.equal, n):
            return f"its logits are PyTorch's in {found.equal} of {n} images only (float32: in {ours.equal})"
        if found.same < _fewest(ours.same, n):
            return f"its largest class is PyTorch's in {found.same} of {n} images only (float32: in {ours.same})"
        return None


def _fewest(ours: int, images: int) -> float:
    """The smallest count of images that chance explains beside `ours`: both are draws of one share."""
    share = (ours + 1) / (images + 2)  # the rule of succession: a full count does not prove a share of 1
    return ours - CHANCE * math.sqrt(2 * images * share * (1 - share)) - 1


def reference(model: FamilyModel, images: Tensor, progress: Progress | None = None) -> Reference:
    """PyTorch's logits of normalised `images` (n, 3, S, S), float32 on the CPU; the model is evaluated as it is."""
    small, wide = copy.deepcopy(model).cpu().eval(), copy.deepcopy(model).cpu().double().eval()
    with torch.inference_mode():
        both = in_batches(lambda x: np.stack((wide(x.double()).numpy(), small(x).numpy()), 1), images, progress)
    return Reference(images, both[:, 0], both[:, 1], any_quantized(model.layers))


def onnx_logits(path: Path, images: Tensor, progress: Progress | None = None) -> Logits:
    """What ONNX Runtime gives for the same images."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leaves the cores to who needs them
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return in_batches(lambda x: session.run(None, {INPUT: x.numpy()})[0], images, progress)


def in_batches(run: Callable[[Tensor], NDArray[Any]], images: Tensor, progress: Progress | None) -> Logits:
    """Logits of all images, by a function for a batch of them; `progress(done, of)` follows every batch."""
    results = []
    for start in range(0, len(images), BATCH):
        results.append(run(images[start : start + BATCH]).astype(np.float64))
        if progress is not None:
            progress(sum(map(len, results)), len(images))
    return np.concatenate(results)
