"""The training loop: schedules against timm's closed form, resuming to the same bits, and how trainings fail."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bhvit.errors import InvalidInput
from searcher.checkpoint_files import BEST, LAST
from searcher.checkpoints import read_tensors
from searcher.outcomes import Diverged, OutOfMemory
from searcher.records import EpochRecord
from searcher.training import Objective, adamw, cosine_schedule, train_phase
from tests.searcher.killed_training import images, network, phase_run, train
from tests.searcher.tiny_images import image_folder, small_recipe


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def undisturbed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("undisturbed")
    train(root, folder)
    return folder


class Interrupted(Exception):
    pass


def same_tensors(a: Path, b: Path) -> bool:
    ours, theirs = read_tensors(a)[0], read_tensors(b)[0]
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def without_seconds(record: EpochRecord) -> tuple[object, ...]:
    return (record.phase, record.epoch, record.train_loss, record.val_loss, record.accuracy)


@pytest.mark.parametrize("stop_after", [1, 2])
@pytest.mark.parametrize("name", ["fp", "qat"])
def test_training_interrupted_after_an_epoch_ends_with_the_same_bits(
    root: Path, tmp_path: Path, stop_after: int, name: str
) -> None:
    whole = train(root, tmp_path / "whole", name=name)

    def interrupt(record: EpochRecord) -> bool:
        if record.epoch == stop_after:
            raise Interrupted
        return False

    with pytest.raises(Interrupted):
        train(root, tmp_path / "parts", interrupt, name)
    replayed: list[EpochRecord] = []
    parts = train(root, tmp_path / "parts", lambda r: replayed.append(r) or False, name)

    assert [r.epoch for r in replayed] == [1, 2, 3]
    assert list(map(without_seconds, parts.history)) == list(map(without_seconds, whole.history))
    assert same_tensors(tmp_path / "whole" / LAST, tmp_path / "parts" / LAST)
    assert same_tensors(tmp_path / "whole" / BEST, tmp_path / "parts" / BEST)


def test_process_killed_twice_ends_with_the_same_bits(root: Path, tmp_path: Path, undisturbed: Path) -> None:
    command = [sys.executable, "-m", "tests.searcher.killed_training", str(root), str(tmp_path)]
    for epoch_and_step in ("1.2", "3.1"):
        with subprocess.Popen([*command, epoch_and_step], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "asleep\n"
            process.kill()
        assert process.returncode == -signal.SIGKILL
    last = subprocess.run([*command, "never"], capture_output=True, text=True, check=True)
    assert last.stdout == "complete\n"
    assert same_tensors(undisturbed / LAST, tmp_path / LAST)
    assert same_tensors(undisturbed / BEST, tmp_path / BEST)


def test_best_weights_lost_between_the_two_writes_are_restored(root: Path, tmp_path: Path) -> None:
    def interrupt_at_best(record: EpochRecord) -> bool:
        raise Interrupted

    with pytest.raises(Interrupted):
        train(root, tmp_path, interrupt_at_best)
    expected = read_tensors(tmp_path / BEST)[0]
    (tmp_path / BEST).unlink()
    train(root, tmp_path, lambda r: True)
    restored, metadata = read_tensors(tmp_path / BEST)
    assert metadata["epoch"] == "1"
    assert all(torch.equal(restored[k], expected[k]) for k in expected)


def test_best_is_the_first_epoch_of_highest_accuracy(undisturbed: Path, root: Path) -> None:
    state = train(root, undisturbed)
    accuracies = [r.accuracy for r in state.history]
    assert state.best is not None
    assert state.best.epoch == accuracies.index(max(accuracies)) + 1
    assert read_tensors(undisturbed / BEST)[1]["epoch"] == str(state.best.epoch)


def test_small_network_learns_the_colours(root: Path, tmp_path: Path) -> None:
    phase = {"epochs": 12, "learning_rate": 0.01}
    plain = {"crop_scale": [0.5, 1.0]}
    state = train(root, tmp_path, fp=phase, augmentation=plain)
    assert state.best is not None
    assert state.best.accuracy >= 0.9  # chance is a third


def test_report_of_true_ends_the_phase(root: Path, tmp_path: Path) -> None:
    assert len(train(root, tmp_path, lambda record: record.epoch == 2).history) == 2


def test_another_seed_gives_other_batches_and_workers_give_the_same(root: Path) -> None:
    alone = list(images(root).train.epoch(1))
    two_workers = list(images(root, workers=2).train.epoch(1))
    another_phase = list(images(root, name="qat").train.epoch(1))
    assert all(torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(alone, two_workers, strict=True))
    assert not torch.equal(alone[0][0], another_phase[0][0])


def test_training_leaves_the_callers_random_state_alone(root: Path, tmp_path: Path) -> None:
    run, data, model = phase_run(tmp_path), images(root), network()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    train_phase(model, run, data, Objective(), lambda record: True)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("schedule", ["epoch", "step"])
def test_learning_rate_follows_warm_up_and_cosine(schedule: str) -> None:
    fp = {"epochs": 10, "learning_rate": 0.5, "min_learning_rate": 0.1, "warmup_epochs": 2, "warmup_learning_rate": 0.3}
    recipe = small_recipe(fp=fp, schedule=schedule)
    steps = 4
    optimizer = adamw(network(), recipe.fp, recipe)
    timeline = cosine_schedule(optimizer, recipe.fp, recipe, steps)
    for epoch in range(10):
        timeline.step(epoch)
        for step in range(steps):
            timeline.step_update(epoch * steps + step)
            t = epoch if schedule == "epoch" else epoch + step / steps
            expected = 0.3 + 0.2 * t / 2 if t < 2 else 0.1 + 0.4 * (1 + math.cos(math.pi * t / 10)) / 2
            assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([expected] * 2, rel=1e-12)


def test_phase_of_one_epoch_trains_at_the_full_rate() -> None:
    recipe = small_recipe(fp={"epochs": 1, "learning_rate": 0.5}, schedule="epoch")
    optimizer = adamw(network(), recipe.fp, recipe)
    cosine_schedule(optimizer, recipe.fp, recipe, 4).step(0)
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.5]


def test_vectors_and_biases_are_not_decayed() -> None:
    recipe = small_recipe(weight_decay=0.05)
    groups = adamw(network(), recipe.fp, recipe).param_groups
    shapes = {g["weight_decay"]: sorted(p.dim() for p in g["params"]) for g in groups}
    assert shapes == {0.0: [1, 1, 1, 1], 0.05: [2, 4]}


def test_first_step_moves_weights_by_the_learning_rate_of_adamw(root: Path, tmp_path: Path) -> None:
    """AdamW's first step is -lr sign(gradient), whatever the gradient: seen on a bias, which is not decayed."""
    before, model = network()[5].bias.detach(), network()
    changes = {"fp": {"epochs": 1, "learning_rate": 0.001}, "batch_size": 24}
    train_phase(model, phase_run(tmp_path, **changes), images(root, **changes), Objective(), lambda record: True)
    assert (model[5].bias.detach() - before).abs().tolist() == pytest.approx([0.001] * 3, rel=1e-3)


class Failing(nn.Module):
    def __init__(self, failure: Exception | float) -> None:
        super().__init__()
        self.layer, self.failure = nn.Linear(1, 3), failure

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.failure, Exception):
            raise self.failure
        logits: Tensor = self.layer(x.mean((1, 2, 3), keepdim=False)[:, None]) * self.failure
        return logits


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_loss_that_is_not_finite_is_divergence_and_leaves_no_checkpoint(
    root: Path, tmp_path: Path, value: float
) -> None:
    with pytest.raises(Diverged, match="training loss of phase fp became NaN or infinite by step 3 of epoch 1"):
        train_phase(Failing(value), phase_run(tmp_path), images(root), Objective(), lambda record: False)
    assert not (tmp_path / LAST).exists()


@pytest.mark.parametrize(
    "failure",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes"),
    ],
    ids=["python", "cuda", "linux", "windows"],
)
def test_full_memory_is_named_with_its_peak(root: Path, tmp_path: Path, failure: Exception) -> None:
    with pytest.raises(OutOfMemory, match=r"cpu ran out of memory while training phase fp, with a peak of \d+ MiB"):
        train_phase(Failing(failure), phase_run(tmp_path), images(root), Objective(), lambda record: False)


def test_allocation_that_no_machine_can_make_is_out_of_memory(root: Path, tmp_path: Path) -> None:
    class Greedy(Failing):
        def forward(self, x: Tensor) -> Tensor:
            return torch.empty(2**60)

    with pytest.raises(OutOfMemory):
        train_phase(Greedy(1.0), phase_run(tmp_path), images(root), Objective(), lambda record: False)


def test_other_runtime_errors_are_not_taken_for_full_memory(root: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shape"):
        train_phase(
            Failing(RuntimeError("wrong shape")), phase_run(tmp_path), images(root), Objective(), lambda record: False
        )


@pytest.mark.parametrize("keep", [0, 7, 1000, -1])
def test_truncated_checkpoint_is_refused_with_its_name_and_kept(root: Path, tmp_path: Path, keep: int) -> None:
    train(root, tmp_path, lambda record: True)
    whole = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).write_bytes(whole[:keep])
    with pytest.raises(InvalidInput, match=r"last\.safetensors must be a whole checkpoint, but .*; delete it to train"):
        train(root, tmp_path)
    assert (tmp_path / LAST).read_bytes() == whole[:keep]


def test_checkpoint_of_another_training_is_refused(root: Path, tmp_path: Path) -> None:
    train(root, tmp_path, lambda record: True)
    with pytest.raises(InvalidInput, match="must continue the training other, but it is of key"):
        train(root, tmp_path, key="other")


def test_progress_counts_every_step(root: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int, int]] = []
    train_phase(
        network(),
        phase_run(tmp_path),
        images(root),
        Objective(),
        lambda record: record.epoch == 2,
        lambda *step: seen.append(step),
    )
    assert seen == [("fp", epoch, step, 3) for epoch in (1, 2) for step in (1, 2, 3)]
