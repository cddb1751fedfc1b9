"""A reproduction as trainings: one study for each (row, seed), which tables that share a model share as well."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bhvit.staged import Architecture
from searcher.budget import BudgetSection
from searcher.model_section import ModelSection
from searcher.pruning import NoPruning
from searcher.recipe import DataConfig, TrainingRecipe, with_length
from searcher.records import Outcome, TrialRecord
from searcher.reproductions import Row
from searcher.space import Space
from searcher.space_file import SearchSection, SpaceFile
from searcher.study_folder import StudyFolder
from searcher.variables import GroupSection, PrecisionSection, WidthSection, WidthsSection


@dataclass(frozen=True)
class Setting:
    """What all rows share: base model, data, recipe, seeds and threads; the names say where they came from."""

    model_name: str
    model: ModelSection
    data: DataConfig
    recipe_name: str
    recipe: TrainingRecipe
    seeds: tuple[int, ...]
    threads: int | None = None

    @property
    def name(self) -> str:
        """Name of the folder of all runs, the same for every table."""
        epochs = f"{self.recipe.fp.epochs}+{self.recipe.qat.epochs}"
        return f"{self.model_name}-{self.data.name}-{self.recipe_name}-{epochs}"

    @cached_property
    def base(self) -> Architecture:
        """The architecture at width 1."""
        return self.model.architecture()

    def space(self, row: Row, seed: int) -> Space:
        """The search with one configuration: the row's model, without limits, trained to its last epoch."""
        groups = () if row.downsampling is None else (GroupSection("downsample*", (row.downsampling,)),)
        file = SpaceFile(
            model=self.model,
            widths=WidthsSection(WidthSection((row.hidden,)), WidthSection((row.intermediate,))),
            precision=PrecisionSection(row.precision, groups),
            budget=BudgetSection(),
            search=SearchSection(trials=1, seed=seed, threads=self.threads, pruner=NoPruning()),
            recipe=self.recipe,
            data=self.data,
        )
        return Space(f"{row.model}-seed{seed}", file)


@dataclass(frozen=True)
class Run:
    """One training: a row's model with one seed, and its study's folder."""

    row: Row
    seed: int
    space: Space
    folder: StudyFolder

    @property
    def record(self) -> TrialRecord | None:
        """What is known of the training; None before it began.

        Raises `InvalidInput` where the folder holds another question: another recipe, data set or model.
        """
        self.folder.require_same(self.space)
        return next(iter(self.folder.records()), None)

    @property
    def finished(self) -> bool:
        """Whether nothing of it is left to train."""
        record = self.record
        return record is not None and record.outcome.finished

    @property
    def accuracy(self) -> float | None:
        """Validation Top-1 (0..1) of the best epoch; None where the training has not finished, or failed."""
        record = self.record
        complete = record is not None and record.outcome is Outcome.COMPLETE
        return record.metrics.accuracy if complete and record is not None and record.metrics is not None else None

    @property
    def test_accuracy(self) -> float | None:
        """Test Top-1 (0..1) of the same weights; None where it has not been read."""
        record = self.record
        result = None if record is None else self.folder.test_result(record)
        return None if result is None else result.accuracy

    @property
    def failure(self) -> str:
        """What ended the training without a result, and where; empty where nothing did."""
        record = self.record
        if record is None or not record.outcome.finished or record.outcome is Outcome.COMPLETE:
            return ""
        return (
            f"{self.row.label}, seed {self.seed}, {record.outcome}: {record.message or 'no message'}; delete "
            f"{self.folder.path} to train it again."
        )


class PlanPace:
    """Estimates the time that a plan's runs still take from those that this process finished.

    A run's work is taken to be its epochs times the multiply-accumulates of its full-precision form: training computes
    in floats whatever the precision is. A parent that an earlier run of the plan trains is no work.
    """

    def __init__(self, runs: Sequence[Run], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._start = clock, clock()
        self._left: dict[str, float] = {}
        self._done = 0.0
        parents: set[tuple[str, int]] = set()
        for run in runs:
            candidate, recipe = run.space.candidate(run.space.decode(0)), run.space.training[0]
            own = (candidate.parent.id, run.seed)
            epochs = recipe.qat.epochs + (0 if own in parents else recipe.fp.epochs)
            if not run.finished:
                self._left[run.space.name] = candidate.parent.cost().ops * epochs
            parents.add(own)

    def finish(self, run: Run) -> None:
        """Note that `run` has just ended."""
        self._done += self._left.pop(run.space.name, 0.0)

    @property
    def remaining(self) -> float | None:
        """Estimated seconds for the runs that are left; None before the first has ended."""
        if not self._done:
            return None
        return (self._clock() - self._start) * sum(self._left.values()) / self._done


def plan_runs(setting: Setting, rows: tuple[Row, ...], place: Path) -> tuple[Run, ...]:
    """All runs in the order of training, seed by seed, so that a first whole table appears early.

    `place` is the folder that gets the studies' folders.
    """
    return tuple(
        Run(row, seed, space, StudyFolder(place / space.name))
        for seed in setting.seeds
        for row in rows
        for space in (setting.space(row, seed),)
    )


def with_epochs(recipe: TrainingRecipe, fp: int, qat: int) -> TrainingRecipe:
    """`recipe` with other numbers of epochs; where a phase is changed, warm-up is at most a quarter of it."""
    return dataclasses.replace(recipe, fp=with_length(recipe.fp, fp), qat=with_length(recipe.qat, qat))
