"""A trained model, packed, on the demo's test photographs: it answers as PyTorch does."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bhvit import PrecisionPlan
from bhvit.checkpoint import round_to_stored_precision
from bhvit.export.packed import pack
from bhvit.runtime import load
from searcher.candidate_training import evaluation_images
from searcher.datasets.config import DataConfig
from tests.bhvit.runtime.networks import runtimes
from tests.searcher.architectures import build, thin_architecture

SIDE = 96
STEPS, BATCH = 60, 16


@dataclass(frozen=True)
class Trained:
    """A model after a few seconds of training: its logits (test images, 6) by what computes them, and the labels."""

    logits: Mapping[str, Tensor]
    labels: Tensor


def pixels(split: str, every: int = 1) -> tuple[Tensor, Tensor]:
    images = getattr(DataConfig(name="trashnet_mini").list_images(), split)
    batches = list(evaluation_images(images, SIDE, cache=False).batches(torch.device("cpu")))
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return x[::every], y[::every]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    torch.manual_seed(0)
    shape = thin_architecture([16, 16, 32, 32], [32, 32, 64, 64], image_size=SIDE, num_classes=6)
    late = shape.block_parts(3)[0]
    plan = PrecisionPlan.uniform("binary").with_layers("downsample2", "fp16").with_layers(f"*.{late}", "int8")
    model = build(shape, plan)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    images, labels = pixels("train", every=4)
    for _ in range(STEPS):
        chosen = torch.randperm(len(images))[:BATCH]
        loss = F.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    round_to_stored_precision(model.eval())
    path = tmp_path_factory.mktemp("packed") / "m.bhvit"
    pack(model, path)
    images, labels = pixels("test")
    with torch.inference_mode():
        logits = {"float64": copy.deepcopy(model).double()(images.double()), "float32": model(images).double()}
    for name in runtimes():
        logits[name] = torch.from_numpy(load(path, instruction_set=name)(images.numpy())).double()
    return Trained(logits, labels)


def test_the_model_has_learnt_something(trained: Trained) -> None:
    """Else agreement in the class of an image would mean little."""
    predicted = trained.logits["float64"].argmax(1)
    assert len(predicted.unique()) >= 3
    assert (predicted == trained.labels).double().mean() > 0.3  # of six classes


@pytest.mark.parametrize("runtime", runtimes())
def test_classes_and_accuracy_are_those_of_float64(trained: Trained, runtime: str) -> None:
    """The class of float64 as often as PyTorch in float32 has it, and top-1 within one image."""
    reference = trained.logits["float64"].argmax(1)
    found, single = trained.logits[runtime].argmax(1), trained.logits["float32"].argmax(1)
    assert (found == reference).sum() >= (single == reference).sum()
    right, expected = (found == trained.labels).sum(), (reference == trained.labels).sum()
    assert abs(right - expected) <= 1


@pytest.mark.parametrize("runtime", runtimes())
def test_logits_of_most_images_are_those_of_float64(trained: Trained, runtime: str) -> None:
    """Of those in which rounding flips no sign: nearly all at this size."""
    apart = (trained.logits[runtime] - trained.logits["float64"]).abs().amax(1)
    assert apart.quantile(0.9) < 1e-3
