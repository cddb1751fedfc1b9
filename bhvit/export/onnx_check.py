"""Whether a runtime computes what PyTorch computes: logits of the same images, compared as binary networks allow.

In a binary network a rounding difference of 1e-7 can turn a sign, and then the logits move visibly, with correct
arithmetic on both sides. So the judge is PyTorch in float64, and a runtime passes where it stands as well to it as
PyTorch's own float32 does: its largest class equal as often (within two percent of the images, and one image), and the
median deviation of an image's logits of the same order. A graph with a mistake in it is far from both. Models without
quantized layers have no such excuse: their largest deviation must be rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bhvit.export.onnx_graph import INPUT
from bhvit.model import BHViT
from bhvit.precision import any_quantized

BATCH = 8
ROUNDING = 1e-3  # of the largest logit: float32 through all layers
SAME_ORDER = 10.0
OTHER_SHARE = 0.02  # of the images may have another largest class than with PyTorch's float32, and one image

Logits = NDArray[np.float64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Agreement:
    """How logits of `images` images stand to the float64 ones.

    `same` images have the same largest class; `median` and `largest` are of the images' largest deviations of a logit.
    """

    images: int
    same: int
    median: float
    largest: float


@dataclass(frozen=True)
class Reference:
    """What PyTorch gives in float64 (the judge) and in float32, for `images` (n, 3, S, S)."""

    images: Tensor
    judge: Logits
    float32: Logits
    quantized: bool

    def agreement(self, logits: Logits) -> Agreement:
        """How other logits of the same images stand to the judge's."""
        deviations = np.abs(logits - self.judge).max(1)
        same = int((logits.argmax(1) == self.judge.argmax(1)).sum())
        return Agreement(len(logits), same, float(np.median(deviations)), float(deviations.max()))

    def problem(self, logits: Logits) -> str | None:
        """Why these logits are not those of the model; None where they are."""
        found, ours = self.agreement(logits), self.agreement(self.float32)
        rounding = ROUNDING * max(1.0, float(np.abs(self.judge).max()))
        if not np.isfinite(logits).all():
            return "some of its logits are not finite"
        if not self.quantized:
            return None if found.largest <= rounding else f"logits deviate by up to {found.largest:.2g}"
        if found.same < ours.same - 1 - OTHER_SHARE * found.images:
            return f"its largest class is PyTorch's for {found.same} of {found.images} images (float32: {ours.same})"
        if found.median > SAME_ORDER * ours.median + rounding:
            return f"its logits deviate by {found.median:.2g} in the median (PyTorch's float32: {ours.median:.2g})"
        return None


def reference(model: BHViT, images: Tensor, progress: Progress | None = None) -> Reference:
    """PyTorch's logits of normalised `images` (n, 3, S, S), float32 on the CPU; the model is evaluated as it is."""
    small, wide = copy.deepcopy(model).cpu().eval(), copy.deepcopy(model).cpu().double().eval()
    with torch.inference_mode():
        judge = _in_batches(lambda x: wide(x.double()).numpy(), images, progress)
        float32 = _in_batches(lambda x: small(x).numpy(), images, None)
    return Reference(images, judge, float32, any_quantized(model.layers))


def onnx_logits(path: Path, images: Tensor, progress: Progress | None = None) -> Logits:
    """What ONNX Runtime gives for the same images."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return _in_batches(lambda x: session.run(None, {INPUT: x.numpy()})[0], images, progress)


def _in_batches(run: Callable[[Tensor], NDArray[np.floating]], images: Tensor, progress: Progress | None) -> Logits:
    results = []
    for batch in images.split(BATCH):
        results.append(run(batch).astype(np.float64))
        if progress is not None:
            progress(sum(map(len, results)), len(images))
    return np.concatenate(results)
