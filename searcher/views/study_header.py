"""The head of a study: what is asked, how large the space is, the budget, how far the search is, who is at work."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from bhvit.device_profile import DeviceProfile
from bhvit.precision import PRECISIONS
from bhvit.wording import counted
from searcher.device_profiles import device_id
from searcher.feasible import ENUMERABLE, examined_count
from searcher.model_space import ModelSpace
from searcher.numbers import duration_text, percent_text, share_text
from searcher.records import Outcome
from searcher.snapshot import StudySnapshot
from searcher.space import Space
from searcher.status import QUIET_SECONDS
from searcher.variables import Kind, Variable
from searcher.views import marks
from searcher.views.candidate import model_text
from searcher.views.event_lines import position_text


def study_header(snapshot: StudySnapshot) -> Iterator[RenderableType]:
    """Name, state and progress, then a line for each thing worth knowing, then the trials being trained."""
    beyond = f", {snapshot.trained_beyond:,} trained ones beyond this budget" if snapshot.trained_beyond else ""
    mark = marks.STATES[snapshot.state]
    yield Text.assemble(
        (f"{mark.character} ", mark.style),
        (str(snapshot.folder.path), "bold"),
        f": {snapshot.done:,} of {snapshot.planned:,} trials, ",
        (str(snapshot.state), mark.style),
        beyond,
    )
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for label, text in (*question_lines(snapshot.space), *_amounts(snapshot), *_at_work(snapshot)):
        grid.add_row(f"  {label}:", text)
    yield grid
    yield from _workers(snapshot)


def question_lines(space: Space) -> Iterator[tuple[str, str]]:
    """What is searched and how candidates are trained, as label and text."""
    for i, model in enumerate(space.models):
        yield "searched" if i == 0 else "or", _model_words(model)
    recipe, data = space.recipe, space.data
    if data is not None and recipe is not None:
        epochs = f"{recipe.fp.epochs} + {recipe.qat.epochs} epochs (full precision, quantized)"
        yield "training", f"{data.name}, {epochs}, batch {recipe.batch_size}, seed {space.search.seed}"


def _model_words(model: ModelSpace) -> str:
    """A model and what is chosen of it: `bhvit 224 px: hidden 1, 2; all layers binary`."""
    widths = [f"{v.name} {', '.join(map(str, v.choices))}" for v in model.variables if v.kind is not Kind.PRECISION]
    precisions = [v for v in model.variables if v.kind is Kind.PRECISION]
    covered = {a for v in precisions for a in v.addresses} == set(model.base.addresses)
    searched = "; ".join([*widths, *_precision_words(precisions, model.precision.default, covered)])
    return f"{model_text(model.label, model.family)} {model.base.image_size} px: {searched}"


def question_json(space: Space) -> dict[str, Any]:
    """What is searched, as plain data: variables with their choices, data, epochs and seed.

    Of several models `family` is None, and `models` says of each its family and variables.
    """
    recipe, data = space.recipe, space.data
    return {
        **models_json(space),
        "data": None if data is None else data.name,
        "epochs": None if recipe is None else {"fp": recipe.fp.epochs, "qat": recipe.qat.epochs},
        "seed": space.search.seed,
        "objectives": list(space.search.objectives),
    }


def models_json(space: Space) -> dict[str, Any]:
    """The family and the variables with their choices; of several models also those of each."""
    variables = choices_json(space.variables)
    if not space.mixed:
        return {"family": space.family, "variables": variables}
    models = {m.label: {"family": m.family, "variables": choices_json(m.variables)} for m in space.models}
    return {"family": None, "models": models, "variables": variables}


def choices_json(variables: Sequence[Variable]) -> dict[str, Any]:
    """The choices of variables by their names, as plain data."""
    return {variable.name: list(variable.choices) for variable in variables}


def _precision_words(variables: list[Variable], default: str, covered: bool) -> list[str]:
    if not variables:
        return [f"all layers {default}"]
    rest = "" if covered else f", the other layers {default}"
    names = sorted({str(c) for v in variables for c in v.choices}, key=list(PRECISIONS).index)
    return [f"precision of {counted(len(variables), 'group')} of layers among {', '.join(names)}{rest}"]


def _amounts(snapshot: StudySnapshot) -> Iterator[tuple[str, str]]:
    size, feasible = snapshot.space.size, snapshot.feasible
    text = counted(size, "configuration")
    if feasible is not None and size <= ENUMERABLE:
        text += f", {feasible:,} within the budget ({share_text(feasible / size)})"
        text += f", {feasible - snapshot.repeated:,} of them different" if snapshot.repeated else ""
    elif feasible is not None:
        share = snapshot.feasible_share
        if share is None:  # logs of earlier versions lack it
            share = feasible / examined_count(snapshot.space)
        by, of = (", by samples of the models", "") if snapshot.space.mixed else ("", " of a sample")
        text += f", {share_text(share)}{of} within the budget{by}"
    yield "space", text
    yield "budget", f"{snapshot.budget}{', re-sliced' if snapshot.resliced else ''}"
    if snapshot.space.device is not None:
        yield "device", device_line(snapshot.space.device)


def device_line(device: DeviceProfile) -> str:
    """The device that latencies are predicted for, and by which profile."""
    return f"latency by profile {device_id(device)}, {counted(device.threads, 'thread')}, {device.origin}"


def _at_work(snapshot: StudySnapshot) -> Iterator[tuple[str, str]]:
    if snapshot.holder is None:
        return
    remaining = None if snapshot.status is None else snapshot.status.remaining
    left = "" if remaining is None else f"; about {duration_text(remaining)} left"
    yield "at work", f"{snapshot.holder}{left}"
    if snapshot.status is not None and snapshot.status.trouble:
        yield "trouble", snapshot.status.trouble


def _workers(snapshot: StudySnapshot) -> Iterator[RenderableType]:
    """A line for each trial that is being trained."""
    if snapshot.status is None or not snapshot.status.workers:
        return
    grid = Table.grid(padding=(0, 2))
    for _ in range(3):
        grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    now = time.time()
    for worker in snapshot.status.workers:
        accuracy = "" if worker.accuracy is None else f"Top-1 {percent_text(worker.accuracy)}"
        quiet = f", silent for {duration_text(now - worker.heard)}" if now - worker.heard > QUIET_SECONDS else ""
        grid.add_row(
            marks.OUTCOMES[Outcome.RUNNING].text(f"trial {worker.number}"),
            position_text(worker),
            accuracy,
            Text.assemble(worker.worker, (quiet, "yellow")),
        )
    yield grid
