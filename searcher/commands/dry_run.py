"""The plan of a reproduction: what is left to train, and how long that takes on this machine's devices.

The one part of the commands that loads torch: `reproduce` imports it where it is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from bhvit.errors import InvalidInput
from searcher.checkpoint_files import LAST
from searcher.checkpoints import peek_state
from searcher.commands.setting import image_counts, is_there
from searcher.outcomes import OutOfMemory
from searcher.parents import parent_key
from searcher.reproduction_runs import Run, Setting
from searcher.timing import Work, measure_pace
from searcher.views.console import console
from searcher.views.reproduction_plan import PlannedRun, plan_view


def show_plan(setting: Setting, runs: Sequence[Run], warm_starts: Path, notes: Sequence[str]) -> None:
    """Print every run with what is left of it, and the time measured with a few steps of each model; then `notes`."""
    there = is_there(setting.data)
    plan = _planned(setting, runs, warm_starts, there)
    works = [Work(p.run.space.candidate(p.run.space.decode(0)), p.fp_epochs, p.qat_epochs) for p in plan]
    listing = setting.data.list_images() if there or setting.recipe.teacher_file else None
    counts = image_counts(setting.data)
    if setting.threads is not None:
        torch.set_num_threads(setting.threads)
    out, seconds = console(), {}
    with out.status("timing the models") as status:
        for name, device in _devices().items():

            def announce(i: int, n: int, name: str = name) -> None:
                doing = f"timing a few training steps on {name}: model {i} of {n}"
                status.update(doing)
                if not out.is_terminal:  # a pipe shows no status line
                    print(doing, file=sys.stderr, flush=True)

            try:
                pace = measure_pace(works, setting.recipe, setting.data, listing, device, announce)
            except OutOfMemory as error:
                raise InvalidInput(f"the models of the plan must fit into memory, but {error}") from error
            seconds[name] = [pace.of(work, *counts) for work in works]
    out.print(plan_view(plan, seconds, [*_notes(there, torch.cuda.is_available()), *notes]))


def _devices() -> dict[str, torch.device]:
    gpu = {torch.cuda.get_device_name(0): torch.device("cuda")} if torch.cuda.is_available() else {}
    return {"CPU": torch.device("cpu"), **gpu}


def _notes(data_there: bool, gpu: bool) -> list[str]:
    notes = [
        "Measured with a few training steps of every model, just now; a busy machine is slower, there --threads 1 is "
        "often the fastest."
    ]
    if not gpu:
        notes.append("No GPU found.")
    if not data_there:
        notes.append("The data set is not on disk: its published size is taken, and loading of images is not timed.")
    return notes


def _planned(setting: Setting, runs: Sequence[Run], warm_starts: Path, there: bool) -> list[PlannedRun]:
    """The first run that needs an absent parent trains it, the later ones share it."""
    plan: list[PlannedRun] = []
    epochs, begun = setting.recipe.fp.epochs, set()
    for run in runs:
        candidate = run.space.candidate(run.space.decode(0))
        if run.finished:
            plan.append(PlannedRun(run, candidate.parent.id, "finished", 0, 0))
            continue
        left = epochs
        if there:
            key = parent_key(candidate, setting.recipe, setting.data.list_images(), run.seed)
            left -= _epochs_in(warm_starts / key)
        needed = (candidate.parent.id, run.seed)
        state = "shared" if needed in begun else "to train" if left else "there"
        if state == "to train":
            begun.add(needed)
        record = run.record
        done = 0 if record is None else _epochs_in(run.folder.trial(record))
        fp_epochs = left if state == "to train" else 0
        plan.append(PlannedRun(run, candidate.parent.id, state, fp_epochs, setting.recipe.qat.epochs - done))
    return plan


def _epochs_in(folder: Path) -> int:
    path = folder / LAST
    return len(peek_state(path).history) if path.exists() else 0
