"""Sensitivities of a really trained small parent: what is changed and measured, and that nothing is measured twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from searcher import sensitivity_measurement
from searcher.candidate_training import CandidateTraining
from searcher.cli import main
from searcher.datasets import batches
from searcher.parents import Parent
from searcher.pipeline import trained_parent
from searcher.recipe import DataConfig
from searcher.sensitivity import Sensitivity, read_sensitivity, sensitivity_file
from searcher.sensitivity_measurement import measured, with_part
from tests.searcher.architectures import address_of
from tests.searcher.test_pipeline import ARCHITECTURE, BINARY, RECIPE, Recorder, train
from tests.searcher.test_sensitivity import MODEL
from tests.searcher.tiny_images import image_folder

EARLY, LATE = (address_of(ARCHITECTURE, 0),), (address_of(ARCHITECTURE, 3),)
PARTS = ((EARLY, "binary"), (LATE, "binary"), (LATE, "int8"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    return DataConfig("image_folder", str(image_folder(tmp_path_factory.mktemp("colours"))))


@pytest.fixture(scope="module")
def training(data: DataConfig) -> CandidateTraining:
    torch.set_num_threads(1)
    return CandidateTraining(BINARY, RECIPE, data, 0, torch.device("cpu"))


@pytest.fixture(scope="module")
def folder(training: CandidateTraining, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The warm starts with the parent."""
    folder = tmp_path_factory.mktemp("warm")
    parent_in(folder, training)
    return folder


@pytest.fixture
def parent(folder: Path, training: CandidateTraining) -> Parent:
    """The trained parent, without measurements."""
    parent = parent_in(folder, training)
    sensitivity_file(parent.weights.parent, 1).unlink(missing_ok=True)
    return parent


def parent_in(folder: Path, training: CandidateTraining) -> Parent:
    return trained_parent(training, folder, device="cpu", threads=1, processes=1, report=lambda record: False)


def test_parent_is_the_one_that_candidates_start_from(folder: Path, data: DataConfig, tmp_path: Path) -> None:
    (tmp_path / "warm").symlink_to(folder)
    report = Recorder()
    metrics = train(BINARY, data, tmp_path, report)
    assert not metrics.parent_trained
    assert {phase for phase, _ in report.seen} == {"qat"}


def test_only_the_part_is_quantized_and_downsampling_keeps_the_parents_form(training: CandidateTraining) -> None:
    changed = with_part(BINARY, (EARLY, "binary"))
    assert {a: p.name for a, p in changed.layers.items() if p.name != "fp32"} == {EARLY[0]: "binary"}
    forms = [layer.rprelu is not None for layer in training.model(changed).downsamples]
    assert forms == [layer.rprelu is not None for layer in training.model(BINARY.parent).downsamples] == [True] * 3


def test_parent_itself_keeps_its_accuracy_and_binary_early_layers_cost_some(
    training: CandidateTraining, parent: Parent
) -> None:
    sensitivity = measured(training, parent, PARTS, 1)
    assert sensitivity.images == 12
    assert [change.part for change in sensitivity.changes] == list(PARTS)
    int8 = sensitivity.find(LATE, "int8")
    assert int8 is not None
    assert int8.loss == pytest.approx(sensitivity.loss, abs=0.02)
    binary = sensitivity.find(EARLY, "binary")
    assert binary is not None
    assert abs(binary.loss - sensitivity.loss) > abs(int8.loss - sensitivity.loss)


def test_measurement_of_a_part_does_not_depend_on_those_before_it(training: CandidateTraining, parent: Parent) -> None:
    together = measured(training, parent, PARTS, 1)
    sensitivity_file(parent.weights.parent, 1).unlink()
    alone = measured(training, parent, PARTS[2:], 1)
    assert (alone.loss, alone.changes) == (together.loss, together.changes[2:])


def test_batch_norm_gets_the_mean_of_the_batches_statistics(
    training: CandidateTraining, parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the first norm, behind the stem's convolution, which nothing before it has changed."""
    monkeypatch.setattr(sensitivity_measurement, "EVAL_BATCH", 8)
    monkeypatch.setattr(batches, "EVAL_BATCH", 8)
    measurement = sensitivity_measurement._Measurement(training, parent, 3, 0, None)
    model = training.parent_model(parent)
    seen: list[torch.Tensor] = []
    norm = next(m for m in model.modules() if isinstance(m, sensitivity_measurement.TokenBatchNorm))
    norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().flatten(0, -2)))
    measurement._estimate_statistics(model)
    assert [len(x) for x in seen] == [len(seen[0])] * 3
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert torch.allclose(norm.running_mean, torch.stack([x.mean(0) for x in seen]).mean(0), atol=1e-5)
    assert torch.allclose(norm.running_var, torch.stack([x.var(0) for x in seen]).mean(0), rtol=1e-4)


def test_interrupted_measurement_goes_on_and_nothing_is_measured_twice(
    training: CandidateTraining, parent: Parent
) -> None:
    steps: list[int] = []

    def progress(phase: str, measurement: int, step: int, count: int) -> None:
        if measurement == 3 and not steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured(training, parent, PARTS, 1, progress)
    file = sensitivity_file(parent.weights.parent, 1)
    assert [change.part for change in read_sensitivity(file).changes] == list(PARTS[:1])

    measured(training, parent, PARTS, 1, lambda phase, measurement, step, count: steps.append(measurement))
    assert sorted(set(steps)) == [3, 4]
    whole = file.read_bytes()
    measured(training, parent, PARTS, 1, lambda *step: pytest.fail("measured again"))
    assert file.read_bytes() == whole


def test_callers_random_numbers_are_untouched(training: CandidateTraining, parent: Parent) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    measured(training, parent, PARTS[:1], 1)
    assert torch.equal(before, torch.get_rng_state())


def test_command_trains_the_parent_once_and_prints_every_layer(
    data: DataConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phase = {"epochs": 1, "learning_rate": 0.002}
    file = tmp_path / "space.yaml"
    space = {
        "model": MODEL,
        "precision": {"groups": [{"layers": "stage[23].*", "tie": "stage", "choices": ["binary", "int8"]}]},
        "recipe": {"fp": phase, "qat": dict(phase), "batch_size": 8},
        "data": {"name": "image_folder", "root": data.root},
        "search": {"threads": 1},
    }
    file.write_text(yaml.safe_dump(space))
    command = ["sensitivity", str(file), "--runs", str(tmp_path / "runs"), "--batches", "1"]
    assert main(command) == 0
    out, _ = capsys.readouterr()
    assert "epoch 1 of 1" in out
    addresses = list(BINARY.layers)
    rows = [line.split()[0] for line in out.splitlines() if line and line.split()[0] in addresses]
    assert sorted(rows) == sorted(addresses)

    assert main([*command, "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert "epoch" not in err
    assert [row["layer"] for row in found["layers"]] == rows
    (parent,) = (tmp_path / "runs" / "_warm_starts").iterdir()
    assert isinstance(read_sensitivity(sensitivity_file(parent, 1)), Sensitivity)
    assert main([*command[:-1], "0"]) == 2
    assert "--batches must be at least 1, but it is 0" in capsys.readouterr().err
