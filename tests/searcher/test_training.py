"""The training loop: schedules against timm's closed form, resuming to the same bits, and how trainings fail."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bhvit.errors import InvalidInput
from searcher.checkpoint_files import BEST, LAST
from searcher.checkpoints import TrainingState, peek_state, read_tensors, write_tensors
from searcher.outcomes import Diverged, OutOfMemory
from searcher.records import EpochRecord
from searcher.training import Objective, Progress, adamw, cosine_schedule, train_phase
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
def test_loss_that_is_never_finite_is_divergence_and_leaves_finite_weights(
    root: Path, tmp_path: Path, value: float
) -> None:
    message = (
        "the training loss of phase fp became NaN or infinite by step 3 of epoch 1, after a restart with other random "
        "numbers"
    )
    with pytest.raises(Diverged, match=f"^{message}$"):
        train_phase(Failing(value), phase_run(tmp_path), images(root), Objective(), lambda record: False)
    assert all(tensor.isfinite().all() for tensor in read_tensors(tmp_path / LAST)[0].values())
    assert not (tmp_path / BEST).exists()


class Unlucky(nn.Module):
    """Gives NaN in the training steps `at`, counted from 0 over all epochs and restarts; notes what it sees."""

    def __init__(self, *at: int) -> None:
        super().__init__()
        self.network, self.at, self.seen = network(), at, list[float]()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        if not self.training:
            return logits
        self.seen.append(float(x.sum()))
        return logits * math.nan if len(self.seen) - 1 in self.at else logits


def train_unlucky(
    root: Path, folder: Path, model: Unlucky, workers: int = 0, progress: Progress | None = None
) -> TrainingState:
    return train_phase(model, phase_run(folder), images(root, workers), Objective(), lambda record: False, progress)


@pytest.mark.parametrize("workers", [0, 1])
def test_loss_of_nan_goes_on_from_the_last_finished_epoch_with_other_batches(
    root: Path, tmp_path: Path, workers: int
) -> None:
    lucky, unlucky = Unlucky(), Unlucky(4)  # the second of three steps of the second epoch
    whole = train_unlucky(root, tmp_path / "whole", lucky)
    state = train_unlucky(root, tmp_path / "restarted", unlucky, workers)
    assert (whole.restarts, state.restarts) == (0, 1)
    assert [record.epoch for record in state.history] == [1, 2, 3]
    assert without_seconds(state.history[0]) == without_seconds(whole.history[0])
    assert unlucky.seen[:6] == lucky.seen[:6]
    assert not set(unlucky.seen[6:]) & set(lucky.seen)
    assert all(tensor.isfinite().all() for tensor in unlucky.state_dict().values())


def test_loss_of_nan_in_the_first_epoch_goes_on_from_the_initial_weights(root: Path, tmp_path: Path) -> None:
    model = Unlucky(0)
    train_unlucky(root, tmp_path / "whole", model)

    def stop(phase: str, epoch: int, step: int, steps: int) -> None:
        if epoch == 1 and step == 1 and len(killed.seen) > 3:
            raise Interrupted

    killed = Unlucky(0)
    with pytest.raises(Interrupted):
        train_unlucky(root, tmp_path / "parts", killed, progress=stop)
    stored, start = read_tensors(tmp_path / "parts" / LAST)[0], network().state_dict()
    assert {name.removeprefix("model.network.") for name in stored} == set(start)  # and no optimizer's
    assert all(torch.equal(stored[f"model.network.{name}"], start[name]) for name in start)

    going_on = Unlucky()
    assert train_unlucky(root, tmp_path / "parts", going_on).restarts == 1
    assert going_on.seen == model.seen[3:]
    assert same_tensors(tmp_path / "whole" / LAST, tmp_path / "parts" / LAST)


def test_second_loss_of_nan_is_divergence_also_after_a_kill(root: Path, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"by step 3 of epoch 3, after a restart with other random numbers$"):
        train_unlucky(root, tmp_path, Unlucky(4, 10))  # of the second epoch, and of the third after six good steps
    state = peek_state(tmp_path / LAST)
    assert (len(state.history), state.restarts) == (2, 1)
    with pytest.raises(Diverged, match="of epoch 3, after a restart"):
        train_unlucky(root, tmp_path, Unlucky(0))
    assert train_unlucky(root, tmp_path, Unlucky()).restarts == 1


def test_checkpoint_from_before_restarts_were_counted_is_continued(root: Path, tmp_path: Path) -> None:
    train(root, tmp_path, lambda record: record.epoch == 1)
    tensors, metadata = read_tensors(tmp_path / LAST)
    state = json.loads(metadata["state"])
    assert state.pop("restarts") == 0
    write_tensors(tmp_path / LAST, tensors, {"state": json.dumps(state)})
    assert len(train(root, tmp_path).history) == 3


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
    message = r"cpu ran out of memory while training phase fp, with a peak of (\d+) MiB"
    with pytest.raises(OutOfMemory, match=message) as caught:
        train_phase(Failing(failure), phase_run(tmp_path), images(root), Objective(), lambda record: False)
    said = re.search(message, str(caught.value))
    assert said is not None
    assert caught.value.peak_bytes == pytest.approx(int(said[1]) * 2**20, abs=2**19)


def test_allocation_that_no_machine_can_make_is_out_of_memory(root: Path, tmp_path: Path) -> None:
    class Greedy(Failing):
        def forward(self, x: Tensor) -> Tensor:
            return torch.empty(2**60)

    with pytest.raises(OutOfMemory):
        train_phase(Greedy(1.0), phase_run(tmp_path), images(root), Objective(), lambda record: False)


def test_memory_that_really_ends_is_reported_with_what_the_process_held(root: Path, tmp_path: Path) -> None:
    """Its address space is limited; it keeps 100 MB at every step, all of them written to."""
    program = """
import resource, sys, torch
from pathlib import Path
from searcher.outcomes import OutOfMemory
from searcher.training import Objective, train_phase
from tests.searcher.killed_training import images, network, phase_run
kept = []
root, folder = map(Path, sys.argv[1:])
data, run, size = images(root), phase_run(folder), int(Path("/proc/self/statm").read_text().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (size + 2**29, resource.RLIM_INFINITY))
try:
    train_phase(network(), run, data, Objective(), lambda r: False, lambda *s: kept.append(torch.ones(25_000_000)))
except OutOfMemory as error:
    print(len(kept), error.peak_bytes)
"""
    command = [sys.executable, "-c", program, str(root), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kept, peak = done.stdout.split()
    assert 1 <= int(kept) <= 5
    assert 1e8 * int(kept) < float(peak) < 1e8 * int(kept) + 1e9


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
    with pytest.raises(InvalidInput, match=r"last\.safetensors must be a whole checkpoint, but .*; `searcher doctor"):
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
