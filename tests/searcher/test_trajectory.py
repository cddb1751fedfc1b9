"""The training loop over a whole phase against a trajectory recorded by formulas (`record_trajectory.py`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import searcher.training
from searcher.recipe import TrainingRecipe, recipe_from
from searcher.training import Objective, PhaseImages, PhaseRun, train_phase
from tests.searcher import record_trajectory as recorded

CPU = torch.device("cpu")
NAMES = tuple(map(str, range(recorded.CLASSES)))
Run = tuple[list[dict[str, Any]], dict[str, list[float]]]


class FixedBatches:
    """Stands for both kinds of images of a phase."""

    def __len__(self) -> int:
        return recorded.STEPS

    def epoch(self, epoch: int, restarts: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        return (recorded.batch(epoch, step) for step in range(recorded.STEPS))

    def batches(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        yield recorded.batch(0, 0)[0], torch.zeros(recorded.BATCH, dtype=torch.long)


class Teacher(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return recorded.teacher_logits(images)


def short_pets(**loss: Any) -> TrainingRecipe:
    """Recipe `pets` in all that a step depends on, with ten epochs and three of warm-up."""
    phase = {"epochs": recorded.EPOCHS, "warmup_epochs": recorded.WARMUP_EPOCHS}
    return recipe_from({"base": "pets", "fp": phase, "qat": phase, "drop_path": 0.0, "amp": "off", "loss": loss})


def trained(folder: Path, recipe: TrainingRecipe) -> Run:
    """Every step, as `train_phase` made it, and the parameters after the last."""
    model, steps, losses, optimizers = recorded.network(), [], [], []
    regularizer = model.weight_regularizer
    combined_loss, adamw = searcher.training.combined_loss, searcher.training.adamw

    def spied_loss(*args: Any) -> Tensor:
        loss = combined_loss(*args)
        losses.append((float(loss.detach()), float(regularizer().detach())))
        return loss

    def spied_adamw(*args: Any) -> torch.optim.Optimizer:
        optimizers.append(adamw(*args))
        return optimizers[-1]

    def progress(*_: object) -> None:
        loss, penalty = losses[-1]
        norms = {name: float(model.get_parameter(name).detach().norm()) for name in recorded.FOLLOWED}
        rates = {group["lr"] for group in optimizers[0].param_groups}
        steps.append({"loss": loss, "rate": rates.pop(), "regularizer": penalty, "norms": norms})
        assert not rates

    images = cast(Any, FixedBatches())
    run = PhaseRun("qat", recipe.qat, recipe, 0, "key", folder, CPU)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searcher.training, "combined_loss", spied_loss)
        patch.setattr(searcher.training, "adamw", spied_adamw)
        phase = PhaseImages(images, images, NAMES)
        train_phase(model, run, phase, Objective(Teacher(), regularizer), lambda record: False, progress)
    return steps, recorded.projections(dict(model.named_parameters()))


@pytest.fixture(scope="module")
def recording() -> Run:
    data = json.loads(recorded.RECORDING.read_text())
    return data["steps"], data["final"]


def test_every_step_of_a_phase_is_the_recorded_one(recording: Run, tmp_path: Path) -> None:
    steps, final = trained(tmp_path, short_pets())
    assert len(steps) == recorded.EPOCHS * recorded.STEPS == 20
    for ours, theirs in zip(steps, recording[0], strict=True):
        assert ours.pop("norms") == pytest.approx(theirs["norms"], rel=1e-9)
        assert ours == pytest.approx({k: v for k, v in theirs.items() if k != "norms"}, rel=1e-9)
    assert final.keys() == recording[1].keys()
    for name, values in final.items():
        assert values == pytest.approx(recording[1][name], rel=1e-9, abs=1e-9), name


def test_recording_shows_where_beta_begins(recording: Run, tmp_path: Path) -> None:
    """With beta from the last fifth on, the trajectory leaves the recorded one in step 17, not before and not later."""
    steps, _ = trained(tmp_path, short_pets(regularizer_from=0.8))
    pairs = zip(steps, recording[0], strict=True)
    differs = [ours["loss"] != pytest.approx(theirs["loss"], rel=1e-9) for ours, theirs in pairs]
    assert differs == [False] * 16 + [True] * 4
