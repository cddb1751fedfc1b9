"""Measures what quantizing parts of a trained full-precision parent costs, without training anything."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from bhvit.layers.norm import TokenBatchNorm
from bhvit.precision import PrecisionPlan
from searcher.candidate import Candidate
from searcher.candidate_training import CandidateTraining, build_candidate
from searcher.datasets.batches import EVAL_BATCH, EvaluationImages
from searcher.datasets.images import ImageStore
from searcher.datasets.listing import ImageList
from searcher.devices import memory_exhaustion_named, mixed_precision
from searcher.evaluation import evaluate
from searcher.outcomes import Diverged
from searcher.parents import Parent
from searcher.randomness import derive_seed, global_generators_restored
from searcher.records import Evaluation
from searcher.sensitivity import Change, Part, Sensitivity, read_sensitivity, sensitivity_file, write_sensitivity
from searcher.training import Progress
from searcher.warm_start import warm_start


def measured(
    training: CandidateTraining, parent: Parent, parts: Sequence[Part], batches: int, progress: Progress | None = None
) -> Sensitivity:
    """The parent's sensitivity with at least `parts`, each measured at most once and kept in the parent's folder.

    `progress("", measurement from 1, step, steps)` counts them, the parent itself first.
    Raises `OutOfMemory`, `Diverged` where a loss is not finite, or `InvalidInput` for a damaged file.
    """
    file = sensitivity_file(parent.weights.parent, batches)
    known = read_sensitivity(file) if file.exists() else None
    missing = [part for part in parts if known is None or part not in {c.part for c in known.changes}]
    if known is not None and not missing:
        return known
    with global_generators_restored(), memory_exhaustion_named(training.device, "measuring the sensitivity"):
        done = len(parts) - len(missing) + (known is not None)
        measurement = _Measurement(training, parent, batches, done, progress)
        if known is None:
            plain = measurement.of(((), "fp32"))
            known = Sensitivity(parent.key, batches, plain.images, plain.loss, plain.accuracy)
            write_sensitivity(file, known)
        for part in missing:
            found = measurement.of(part)
            known = dataclasses.replace(known, changes=(*known.changes, Change(*part, found.loss, found.accuracy)))
            write_sensitivity(file, known)
    return known


class _Measurement:
    """Images that are the same for every part of every parent, and the steps done."""

    def __init__(
        self, training: CandidateTraining, parent: Parent, batches: int, done: int, progress: Progress | None
    ) -> None:
        self._training, self._progress, self._done = training, progress, done
        self._recipe = dataclasses.replace(training.recipe, drop_path=0.0)  # statistics of the whole network
        self._parent = training.parent_model(parent)
        size, most = training.candidate.architecture.image_size, batches * EVAL_BATCH
        self._train, self._val = (_some(training.listing.split(split), most, size) for split in ("train", "val"))

    def of(self, part: Part) -> Evaluation:
        """Loss and accuracy of the parent with a part quantized."""
        training = self._training
        model = build_candidate(with_part(training.candidate, part), self._recipe).to(training.device)
        warm_start(model, self._parent)
        self._estimate_statistics(model)
        result = evaluate(
            model,
            self._val.batches(training.device),
            training.listing.classes,
            "val",
            training.device,
            self._recipe.amp,
        )
        if not math.isfinite(result.loss):
            raise Diverged(f"the validation loss with {' '.join(part[0])} at {part[1]} is {result.loss}")
        self._done += 1
        return result

    @torch.no_grad()
    def _estimate_statistics(self, model: nn.Module) -> None:
        """Set quantizer scales from the first batch, and batch norm's statistics to their means over all batches.

        The parent's statistics are those of unquantized activations. With them one would measure how badly they fit,
        which the first steps of training repair, and not what the quantizer has lost.
        """
        training = self._training
        norms = [module for module in model.modules() if isinstance(module, TokenBatchNorm)]
        model.train()
        steps = -(-len(self._train) // EVAL_BATCH)
        for step, (pixels, _) in enumerate(self._train.batches(training.device), 1):
            for norm in norms:
                norm.momentum = 1 / step  # the mean over the batches so far
            with mixed_precision(training.device, self._recipe.amp):
                model(pixels)
            if self._progress is not None:
                self._progress("", self._done + 1, step, steps + 1)


def with_part(candidate: Candidate, part: Part) -> Candidate:
    """The candidate's parent with some layers at another precision, and downsampling layers in their form there."""
    layers, precision = part
    plan = PrecisionPlan.uniform("fp32")
    for address in layers:
        plan = plan.with_layers(address, precision)
    return dataclasses.replace(candidate, architecture=candidate.architecture.in_one_form(), plan=plan)


def _some(images: ImageList, most: int, size: int) -> EvaluationImages:
    """At most so many of the images in an order that mixes the classes, without augmentation."""
    generator = np.random.Generator(np.random.PCG64(derive_seed("sensitivity")))
    chosen = [int(i) for i in generator.permutation(len(images))[:most]]
    store = ImageStore([images.items[i] for i in chosen], cache=False)
    return EvaluationImages(store, [images.labels[i] for i in chosen], size, keep=True)
