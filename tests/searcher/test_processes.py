"""Several processes on the CPU (gloo) against one: equal gradients, restarts, deaths, and nothing left over.

Processes take seconds to start, so that most of these tests are slow ones.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bhvit import global_batch
from bhvit.errors import InvalidInput
from searcher.checkpoint_files import BEST, LAST
from searcher.checkpoints import peek_state
from searcher.devices import device_of_rank
from searcher.outcomes import Diverged, OutOfMemory
from searcher.pipeline import train_candidate
from searcher.preflight import check_processes
from searcher.processes import Failure, ProcessDied
from searcher.ranks import ALONE
from searcher.recipe import DataConfig, TrainingRecipe
from searcher.records import Metrics
from tests.searcher import divided_steps
from tests.searcher.test_pipeline import MIXED, RECIPE, Recorder
from tests.searcher.test_training import same_tensors
from tests.searcher.tiny_images import image_folder, small_recipe

COMMON = {"seed": 0, "device": "cpu", "threads": 1}
Step = tuple[str, int, int]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return image_folder(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def alone(root: Path) -> dict[str, Tensor]:
    return divided_steps.steps(root, ALONE)


@pytest.fixture(scope="module")
def undisturbed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Metrics]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, train(root, folder, 2)


def train(
    root: Path,
    folder: Path,
    processes: int,
    kill_at: Step | None = None,
    workers: int = 0,
    recipe: TrainingRecipe = RECIPE,
    **changes: object,
) -> Metrics:
    """Train a candidate of many precisions; at the step `kill_at` one of its processes is killed."""

    def progress(phase: str, epoch: int, step: int, steps: int, peak_bytes: float | None) -> None:
        if (phase, epoch, step) == kill_at:
            os.kill(children(os.getpid())[-1], signal.SIGKILL)

    return train_candidate(
        MIXED,
        recipe,
        DataConfig("image_folder", str(root), workers=workers),
        directory=folder / "trial",
        warm_starts=folder / "warm",
        processes=processes,
        **({"report": Recorder(), "progress": progress} | COMMON | changes),  # type: ignore[arg-type]
    )


def children(pid: int) -> list[int]:
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return sorted(int(child) for path in lists for child in path.read_text().split())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def largest_difference(ours: dict[str, Tensor], theirs: dict[str, Tensor], prefix: str) -> float:
    names = [name for name in theirs if name.startswith(prefix)]
    assert names
    return max(float((ours[name].double() - theirs[name].double()).abs().max()) for name in names)


# --- equal gradients


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_gradients_and_an_epochs_weights_are_those_of_one_process(
    root: Path, tmp_path: Path, alone: dict[str, Tensor], count: int
) -> None:
    """In float64, with mixing, erasing, DropPath, first-batch values, LSQ, binary attention, teacher and regulariser.

    Parameters in front of a batch norm have gradients that are zero up to rounding, and AdamW makes steps of
    lr * 1e-16 / 1e-8 of them: hence the wider tolerance of weights.
    """
    command = [sys.executable, "-m", "tests.searcher.divided_steps", str(root), str(tmp_path)]
    team = [subprocess.Popen([*command, str(rank), str(count)]) for rank in range(count)]
    assert [process.wait() for process in team] == [0] * count
    together = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(count)]
    assert together[0].keys() == alone.keys()
    assert largest_difference(together[0], alone, "gradient") < 1e-10
    assert largest_difference(together[0], alone, "") < 1e-7
    for other in together[1:]:
        assert all(torch.equal(together[0][name], other[name]) for name in other)


@pytest.mark.parametrize(("size", "ranks"), [(8, 2), (24, 3), (16, 8)])
def test_parts_cover_a_batch_once_and_keep_mixed_images_together(size: int, ranks: int) -> None:
    batch = list(range(size))
    mine = [[i for where in global_batch.part(size, rank, ranks) for i in batch[where]] for rank in range(ranks)]
    assert sorted(i for part in mine for i in part) == batch
    assert all(a + b == size - 1 for part in mine for a, b in zip(part, reversed(part), strict=True))


def test_unpaired_parts_are_one_slice() -> None:
    assert [global_batch.part(9, rank, 3) for rank in range(3)] == [(slice(0, 3),), (slice(3, 6),), (slice(6, 9),)]


# --- restarts and deaths


def test_killed_process_ends_the_training_and_the_others(root: Path, tmp_path: Path) -> None:
    before = children(os.getpid())
    with pytest.raises(ProcessDied, match=r"process \d of 2 that trained together ended by signal 9 \(SIGKILL\)"):
        train(root, tmp_path, 2, kill_at=("fp", 1, 1))
    assert children(os.getpid()) == before
    assert not list(tmp_path.rglob(LAST))


@pytest.mark.slow
def test_killed_and_continued_training_ends_with_the_same_bits(
    root: Path, tmp_path: Path, undisturbed: tuple[Path, Metrics]
) -> None:
    folder, expected = undisturbed
    for kill_at in (("fp", 2, 1), ("qat", 2, 1)):
        with pytest.raises(ProcessDied):
            train(root, tmp_path, 2, kill_at)
    metrics = train(root, tmp_path, 2)
    assert metrics.accuracy == expected.accuracy
    for place in ("trial", f"warm/{expected.parent_key}"):
        assert same_tensors(tmp_path / place / LAST, folder / place / LAST)
        assert same_tensors(tmp_path / place / BEST, folder / place / BEST)


@pytest.mark.slow
def test_restart_wraps_its_model_as_the_undisturbed_training(root: Path, tmp_path: Path) -> None:
    """With three or more processes the order of sums depends on torch's buckets, which change after a first step."""
    recipe = {"fp": {"epochs": 3, "learning_rate": 0.002}, "batch_size": 8}
    data = DataConfig("image_folder", str(root))
    whole, parts = tmp_path / "whole", tmp_path / "parts"

    def phase_one(folder: Path, interrupt_at: tuple[str, int]) -> None:
        with pytest.raises(KeyboardInterrupt):
            train_candidate(
                MIXED,
                small_recipe(**recipe),
                data,
                directory=folder / "trial",
                warm_starts=folder / "warm",
                processes=4,
                report=Recorder(interrupt_at),
                **COMMON,  # type: ignore[arg-type]
            )

    phase_one(whole, ("fp", 3))
    phase_one(parts, ("fp", 1))
    phase_one(parts, ("fp", 3))
    first, second = (next((folder / "warm").rglob(LAST)) for folder in (whole, parts))
    assert same_tensors(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("then", [1, 3])
def test_another_number_of_processes_goes_on_within_rounding(
    root: Path, tmp_path: Path, undisturbed: tuple[Path, Metrics], then: int
) -> None:
    """In float32 the loss agrees to 1e-4; weights whose gradient is zero but for rounding go where AdamW takes them."""
    _, expected = undisturbed
    with pytest.raises(KeyboardInterrupt):
        train(root, tmp_path, 2, report=Recorder(interrupt_at=("fp", 1)))
    metrics = train(root, tmp_path, then)
    ours, theirs = ([r.train_loss for r in m.epochs] for m in (metrics, expected))
    assert ours[0] == theirs[0]
    assert ours[1] == pytest.approx(theirs[1], rel=1e-4)


@pytest.mark.slow
def test_error_of_a_process_arrives_as_such(root: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(root, images)
    victim = next((images / "train" / "red").iterdir())
    victim.write_bytes(victim.read_bytes()[:200])
    with pytest.raises(InvalidInput, match=rf"{victim.name} must be a readable image"):
        train(images, tmp_path, 2)


@pytest.mark.slow
def test_interrupt_of_the_caller_ends_all(root: Path, tmp_path: Path) -> None:
    before = children(os.getpid())
    with pytest.raises(KeyboardInterrupt):
        train(root, tmp_path, 2, report=Recorder(interrupt_at=("fp", 1)))
    assert children(os.getpid()) == before


@pytest.mark.slow
def test_answer_of_true_ends_phase_two_in_all_processes(root: Path, tmp_path: Path) -> None:
    metrics = train(root, tmp_path, 2, report=lambda record: record.phase == "qat")
    assert [(r.phase, r.epoch) for r in metrics.epochs] == [("fp", 1), ("fp", 2), ("qat", 1)]


@pytest.mark.slow
def test_no_process_outlives_a_killed_caller(root: Path, tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, tests.searcher.test_processes as t;"
        "t.train(*map(pathlib.Path, sys.argv[1:]), 2, report=lambda r: print('epoch', flush=True) or False)"
    )
    command = [sys.executable, "-c", program, str(root), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == "epoch\n"
        team = children(caller.pid)
        assert len(team) == 2
        caller.kill()
    deadline = time.monotonic() + 10
    while any(map(alive, team)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, team))


def test_full_memory_of_a_process_arrives_with_its_peak(tmp_path: Path) -> None:
    failure = pickle.loads(pickle.dumps(Failure.of(OutOfMemory("cuda:1 ran out of memory", 3e9))))
    error = failure.error
    assert isinstance(error, OutOfMemory)
    assert (str(error), error.peak_bytes) == ("cuda:1 ran out of memory", 3e9)


@pytest.mark.slow
def test_loss_that_is_never_finite_restarts_once_in_all_processes(root: Path, tmp_path: Path) -> None:
    fp = dataclasses.replace(RECIPE.fp, learning_rate=1e30, warmup_epochs=0)
    with pytest.raises(Diverged, match=r"of phase fp became .* after a restart with other random numbers"):
        train(root, tmp_path, 2, recipe=dataclasses.replace(RECIPE, fp=fp))
    (last,) = (tmp_path / "warm").rglob(LAST)
    assert peek_state(last).restarts == 1


# --- what is refused


def test_batches_that_cannot_be_shared_are_refused_with_one_that_can() -> None:
    mixing, plain = small_recipe(batch_size=12), small_recipe(batch_size=12, augmentation={})
    check_processes(mixing, 3)
    check_processes(plain, 4)
    with pytest.raises(InvalidInput, match="a multiple of twice processes where mixup or cutmix is on, but they are"):
        check_processes(mixing, 4)
    with pytest.raises(InvalidInput, match="but they are 12 and 5; use batch_size: 10, or another number"):
        check_processes(plain, 5)
    with pytest.raises(InvalidInput, match="processes must be at least 1, but it is 0"):
        check_processes(plain, 0)


def test_several_processes_take_a_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [device_of_rank("auto", rank, 2) for rank in range(2)] == [torch.device("cuda", i) for i in range(2)]
    assert device_of_rank("cuda:1", 0, 1) == torch.device("cuda", 1)
    with pytest.raises(InvalidInput, match="each of which takes a GPU, but it is 'cuda:1' with processes 2; use cuda"):
        device_of_rank("cuda:1", 0, 2)
    with pytest.raises(InvalidInput, match="they are 3 and 2; use processes: 2, or device cpu"):
        device_of_rank("cuda", 0, 3)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_processes_that_decode_with_workers_end_and_give_the_same_bits(
    root: Path, tmp_path: Path, undisturbed: tuple[Path, Metrics]
) -> None:
    metrics = train(root, tmp_path, 2, workers=1)
    assert metrics.accuracy == undisturbed[1].accuracy
    assert same_tensors(tmp_path / "trial" / LAST, undisturbed[0] / "trial" / LAST)
