"""A candidate from the shared parent to its accuracy: sharing, resuming, equal effort, and the untouched test split."""

from __future__ import annotations

import dataclasses
import json
import math
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from bhvit import InvalidInput, PrecisionPlan
from searcher import training
from searcher.candidate import Candidate
from searcher.checkpoint_files import BEST, LAST
from searcher.checkpoints import TrainingState, read_tensors
from searcher.parents import Parent, parent_key, parent_of
from searcher.pipeline import evaluate_candidate, train_candidate
from searcher.recipe import DataConfig
from searcher.records import EpochRecord, Metrics
from tests.searcher.architectures import candidate_of, thin_architecture
from tests.searcher.test_training import same_tensors
from tests.searcher.tiny_images import image_folder, small_recipe

ARCHITECTURE = thin_architecture((8, 16, 16, 32), (16, 16, 16, 32))
BINARY = candidate_of(ARCHITECTURE, PrecisionPlan.uniform("binary"))
EVERYWHERE = ARCHITECTURE.block_parts(0)[-1]
MIXED = candidate_of(
    ARCHITECTURE, BINARY.plan.with_layers("downsample*", "fp16").with_layers(f"*.{EVERYWHERE}", "int8")
)
REAL = candidate_of(ARCHITECTURE, PrecisionPlan.uniform("fp32"))
PHASE = {"epochs": 2, "learning_rate": 0.002}
RECIPE = small_recipe(fp=PHASE, qat=PHASE, batch_size=12, teacher="parent")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    return DataConfig("image_folder", str(image_folder(tmp_path_factory.mktemp("colours"))))


@pytest.fixture(scope="module")
def undisturbed(data: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Metrics]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, train(BINARY, data, folder)


class Recorder:
    def __init__(self, interrupt_at: tuple[str, int] | None = None) -> None:
        self.seen: list[tuple[str, int]] = []
        self.interrupt_at = interrupt_at

    def __call__(self, record: EpochRecord) -> bool:
        self.seen.append((record.phase, record.epoch))
        if self.seen[-1] == self.interrupt_at:
            raise KeyboardInterrupt
        return False


def train(
    candidate: Candidate,
    data: DataConfig,
    folder: Path,
    report: Recorder | None = None,
    trial: str = "trial",
    **changes: object,
) -> Metrics:
    return train_candidate(
        candidate,
        dataclasses.replace(RECIPE, **changes),  # type: ignore[arg-type]
        data,
        directory=folder / trial,
        warm_starts=folder / "warm",
        seed=0,
        device="cpu",
        report=report or Recorder(),
    )


def test_metrics_are_those_of_both_phases(undisturbed: tuple[Path, Metrics]) -> None:
    _, metrics = undisturbed
    fp, qat = metrics.epochs[:2], metrics.epochs[2:]
    assert [(r.phase, r.epoch, r.epochs) for r in metrics.epochs] == [
        ("fp", 1, 2), ("fp", 2, 2), ("qat", 1, 2), ("qat", 2, 2),
    ]  # fmt: skip
    assert metrics.accuracy == max(r.accuracy for r in qat) == qat[metrics.best_epoch - 1].accuracy
    assert metrics.final_accuracy == qat[-1].accuracy
    assert metrics.parent_accuracy == max(r.accuracy for r in fp)
    assert metrics.parent_trained
    assert metrics.seconds == sum(r.seconds for r in metrics.epochs)


def test_parent_is_trained_once_for_all_precision_plans(undisturbed: tuple[Path, Metrics], data: DataConfig) -> None:
    folder, first = undisturbed
    weights = (folder / "warm" / first.parent_key / BEST).read_bytes()
    report = Recorder()
    second = train(MIXED, data, folder, report, trial="mixed")
    assert report.seen == [("qat", 1), ("qat", 2)]
    assert not second.parent_trained
    assert (second.parent_key, second.parent_accuracy) == (first.parent_key, first.parent_accuracy)
    assert [p.name for p in (folder / "warm").iterdir()] == [first.parent_key]
    assert (folder / "warm" / first.parent_key / BEST).read_bytes() == weights


def test_restart_after_a_loss_of_nan_is_told_by_the_trial_that_trained(
    data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = training._loss, []

    def unlucky(*arguments: Any) -> torch.Tensor:
        calls.append(arguments[1].name)
        return real(*arguments) * (math.nan if len(calls) == 1 else 1.0)

    monkeypatch.setattr(training, "_loss", unlucky)
    first, second = train(BINARY, data, tmp_path), train(MIXED, data, tmp_path, trial="mixed")
    assert calls[0] == "fp"
    assert (first.restarts, second.restarts) == (1, 0)
    assert not second.parent_trained


@pytest.mark.parametrize("at", [("fp", 1), ("fp", 2), ("qat", 1), ("qat", 2)])
def test_interrupted_candidate_ends_with_the_same_bits(
    undisturbed: tuple[Path, Metrics], data: DataConfig, tmp_path: Path, at: tuple[str, int]
) -> None:
    folder, expected = undisturbed
    with pytest.raises(KeyboardInterrupt):
        train(BINARY, data, tmp_path, Recorder(interrupt_at=at))
    metrics = train(BINARY, data, tmp_path)
    for name in (LAST, BEST):
        assert same_tensors(tmp_path / "trial" / name, folder / "trial" / name)
        assert same_tensors(
            tmp_path / "warm" / expected.parent_key / name, folder / "warm" / expected.parent_key / name
        )
    timeless = dataclasses.replace(metrics, seconds=0, epochs=())
    assert timeless == dataclasses.replace(expected, seconds=0, epochs=())


def test_finished_candidate_is_not_trained_again(undisturbed: tuple[Path, Metrics], data: DataConfig) -> None:
    folder, expected = undisturbed
    before = (folder / "trial" / LAST).stat().st_mtime_ns
    assert train(BINARY, data, folder) == expected
    assert (folder / "trial" / LAST).stat().st_mtime_ns == before


def test_full_precision_candidate_goes_on_from_the_parent(data: DataConfig, tmp_path: Path) -> None:
    """Equal effort: it has a phase 2 too. At a learning rate of next to nothing that phase changes nothing."""
    still = dataclasses.replace(RECIPE.qat, learning_rate=1e-12, min_learning_rate=0, warmup_learning_rate=0)
    candidate = dataclasses.replace(REAL, norm="layer")
    metrics = train(candidate, data, tmp_path, qat=still)
    assert [(r.phase, r.epoch) for r in metrics.epochs] == [("fp", 1), ("fp", 2), ("qat", 1), ("qat", 2)]
    parent, _ = read_tensors(tmp_path / "warm" / metrics.parent_key / BEST)
    candidates, _ = read_tensors(tmp_path / "trial" / BEST)
    assert parent.keys() == candidates.keys()
    assert all(torch.allclose(parent[k].double(), candidates[k].double(), atol=1e-8) for k in parent)
    assert metrics.accuracy == metrics.parent_accuracy


def test_report_of_true_ends_phase_two_but_not_the_parent(data: DataConfig, tmp_path: Path) -> None:
    class Stop(Recorder):
        def __call__(self, record: EpochRecord) -> bool:
            super().__call__(record)
            return True

    report = Stop()
    metrics = train(BINARY, data, tmp_path, report)
    assert report.seen == [("fp", 1), ("fp", 2), ("qat", 1)]
    assert metrics.final_accuracy == metrics.epochs[-1].accuracy


def test_parents_teaching_changes_phase_two_alone(undisturbed: tuple[Path, Metrics], data: DataConfig) -> None:
    folder, taught = undisturbed
    untaught = train(BINARY, data, folder, trial="untaught", teacher="none")
    assert untaught.parent_key == taught.parent_key
    assert untaught.epochs[0].train_loss != taught.epochs[2].train_loss


def test_folder_of_another_candidate_is_refused(undisturbed: tuple[Path, Metrics], data: DataConfig) -> None:
    folder, _ = undisturbed
    with pytest.raises(InvalidInput, match=r"last\.safetensors must continue the training"):
        train(REAL, data, folder)


def test_number_of_classes_must_be_the_data_sets(data: DataConfig, tmp_path: Path) -> None:
    candidate = dataclasses.replace(BINARY, architecture=dataclasses.replace(ARCHITECTURE, num_classes=4))
    with pytest.raises(InvalidInput, match="it is 4 and image_folder has 3; use classes: 3"):
        train(candidate, data, tmp_path)


def test_test_split_is_read_by_evaluation_alone(undisturbed: tuple[Path, Metrics], tmp_path: Path) -> None:
    root = image_folder(tmp_path / "images")
    for path in (root / "test").rglob("*.jpg"):
        path.write_bytes(b"no image")
    data = DataConfig("image_folder", str(root))
    train(BINARY, data, tmp_path)
    assert evaluate_candidate(BINARY, RECIPE, data, tmp_path / "trial" / BEST, "val", "cpu").images == 12
    with pytest.raises(InvalidInput, match=r"\.jpg must be a readable image"):
        evaluate_candidate(BINARY, RECIPE, data, tmp_path / "trial" / BEST, "test", "cpu")


def test_evaluation_repeats_the_recorded_accuracy(undisturbed: tuple[Path, Metrics], data: DataConfig) -> None:
    """fp32 weights are not rounded, so that validation must agree to the last digit."""
    folder, metrics = undisturbed
    weights = folder / "warm" / metrics.parent_key / BEST
    evaluation = evaluate_candidate(REAL, RECIPE, data, weights, "val", "cpu")
    best = max(metrics.epochs[:2], key=lambda r: r.accuracy)
    assert (evaluation.accuracy, evaluation.loss) == (best.accuracy, pytest.approx(best.val_loss, rel=1e-6))
    assert [(c.name, c.images) for c in evaluation.per_class] == [("blue", 4), ("green", 4), ("red", 4)]
    assert sum(c.accuracy * c.images for c in evaluation.per_class) / 12 == pytest.approx(evaluation.accuracy)


def test_evaluation_rounds_what_is_stored_in_half(undisturbed: tuple[Path, Metrics], data: DataConfig) -> None:
    folder, metrics = undisturbed
    weights = folder / "warm" / metrics.parent_key / BEST  # fp16 and fp32 candidates have the same parameters
    half = candidate_of(ARCHITECTURE.in_one_form(), PrecisionPlan.uniform("fp16"))
    exact = evaluate_candidate(REAL, RECIPE, data, weights, "val", "cpu")
    rounded = evaluate_candidate(half, RECIPE, data, weights, "val", "cpu")
    assert rounded.loss != exact.loss
    assert rounded.loss == pytest.approx(exact.loss, rel=1e-2)


def test_weights_of_another_candidate_are_not_evaluated(undisturbed: tuple[Path, Metrics], data: DataConfig) -> None:
    with pytest.raises(InvalidInput, match=r"best\.safetensors must hold exactly the tensors of the model"):
        evaluate_candidate(MIXED, RECIPE, data, undisturbed[0] / "trial" / BEST, "val", "cpu")


# --- the parent's key and its lock


def test_parents_key_depends_on_what_phase_one_depends_on(data: DataConfig) -> None:
    listing = data.list_images()
    key = parent_key(BINARY, RECIPE, listing, 0)

    def same(candidate: Candidate = BINARY, seed: int = 0, **changes: object) -> bool:
        return parent_key(candidate, dataclasses.replace(RECIPE, **changes), listing, seed) == key  # type: ignore[arg-type]

    plain = dataclasses.replace(BINARY, architecture=dataclasses.replace(ARCHITECTURE, downsample_form="plain"))
    assert same(MIXED)
    assert same(REAL)
    assert same(plain)
    assert same(dataclasses.replace(BINARY, recu=False))
    assert same(qat=dataclasses.replace(RECIPE.qat, epochs=9))
    assert not same(dataclasses.replace(BINARY, architecture=ARCHITECTURE.scaled(hidden=2)))
    assert not same(dataclasses.replace(BINARY, norm="layer"))
    assert not same(seed=1)
    assert not same(fp=dataclasses.replace(RECIPE.fp, epochs=9))
    assert not same(batch_size=6)


def test_of_many_that_need_a_parent_one_trains_and_the_others_wait(tmp_path: Path) -> None:
    trained: list[str] = []
    record = EpochRecord("fp", 1, 1, 1.0, 1.0, 0.5, 1.0)
    state = TrainingState("key", (record,))

    def ask(name: str) -> None:
        def train_it(folder: Path) -> TrainingState:
            trained.append(name)
            time.sleep(0.2)
            from safetensors.torch import save_file

            metadata = {"state": json.dumps(dataclasses.asdict(state))}
            save_file({"x": torch.ones(1)}, folder / LAST, metadata)
            save_file({"x": torch.ones(1)}, folder / BEST, {"epoch": "1"})
            return state

        parents[name] = parent_of("key", 1, tmp_path / "warm", tmp_path / name, train_it)

    parents: dict[str, Parent] = {}
    threads = [threading.Thread(target=ask, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(trained) == 1
    assert {name for name, parent in parents.items() if parent.trained_here} == set(trained)
    assert {parent.accuracy for parent in parents.values()} == {0.5}


def test_parent_killed_between_its_last_two_files_is_completed_before_anyone_starts_from_it(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    records = tuple(EpochRecord("fp", epoch, 2, 1.0, 1.0, epoch / 10, 1.0) for epoch in (1, 2))
    state = TrainingState("key", records)  # the last epoch is the best
    folder = tmp_path / "warm" / "key"
    folder.mkdir(parents=True)
    (tmp_path / "trial").mkdir()
    save_file({"x": torch.ones(1)}, folder / LAST, {"state": json.dumps(dataclasses.asdict(state))})
    save_file({"x": torch.ones(1)}, folder / BEST, {"epoch": "1"})
    asked = []

    def train_it(place: Path) -> TrainingState:
        asked.append(place)
        save_file({"x": torch.ones(1)}, place / BEST, {"epoch": "2"})
        return state

    for _ in range(2):
        assert parent_of("key", 2, tmp_path / "warm", tmp_path / "trial", train_it).accuracy == 0.2
    assert asked == [folder]


def test_training_uses_the_threads_it_is_given(data: DataConfig, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    peaks: list[float] = []

    def progress(phase: str, epoch: int, step: int, steps: int, peak_bytes: float | None) -> None:
        seen.append(torch.get_num_threads())
        peaks.append(peak_bytes or 0.0)

    try:
        train_candidate(
            BINARY,
            RECIPE,
            data,
            directory=tmp_path / "trial",
            warm_starts=tmp_path / "parents",
            seed=0,
            device="cpu",
            threads=before + 1,
            report=lambda record: True,
            progress=progress,
        )
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {before + 1}
    assert 50e6 < peaks[0] <= peaks[-1] < 20e9  # torch alone takes as much
    assert peaks == sorted(peaks)
