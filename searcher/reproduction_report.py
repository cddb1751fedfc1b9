"""What the finished runs of a reproduction say: means over seeds, paired gains, distance to the paper; plain data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bhvit.cost import Cost
from searcher.quantities import MIB
from searcher.recipe import TrainingRecipe, recipe_from
from searcher.reproduction_runs import Run, Setting
from searcher.reproductions import (
    PUBLISHED_DATA,
    PUBLISHED_RECIPE,
    Note,
    Published,
    Reproduction,
    Row,
    published_model,
)
from searcher.statistics import Mean, mean_of, paired_difference
from searcher.teacher_file import read_card

PUBLISHED_SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class RowResult:
    """A row with its cost and the accuracies (0..1) of its finished seeds on the two splits."""

    row: Row
    cost: Cost
    val: dict[int, float]
    test: dict[int, float]


@dataclass(frozen=True)
class Report:
    """A table as it stands; `split` (`val` or `test`) is the one whose accuracy is compared."""

    reproduction: Reproduction
    setting: Setting
    results: tuple[RowResult, ...]
    split: str
    failures: tuple[str, ...] = ()

    @property
    def shows_cost(self) -> bool:
        """Whether the printed memory and OPs are those of this model."""
        return published_model(self.setting.base)

    @property
    def shows_top1(self) -> bool:
        """Whether the printed accuracies are of this data set."""
        return self.setting.data.name == PUBLISHED_DATA

    @cached_property
    def by_key(self) -> dict[str, RowResult]:
        """Row key -> result."""
        return {result.row.key: result for result in self.results}

    def top1(self, key: str, split: str | None = None) -> Mean | None:
        """Mean Top-1 in percent over the finished seeds of a row."""
        return mean_of([100 * a for a in self._accuracies(key, split).values()])

    def gain(self, key: str, over: str) -> Mean | None:
        """Mean of the paired differences in points, row `key` minus row `over`; None where a row is not asked for."""
        if not {key, over} <= self.by_key.keys():
            return None
        ours, theirs = ({s: 100 * a for s, a in self._accuracies(k, None).items()} for k in (key, over))
        return paired_difference(ours, theirs)

    def published_gain(self, key: str, over: str) -> float | None:
        """The same difference of the printed means; None where one was not printed or is of other data."""
        ours, theirs = (self.reproduction.row(k).published for k in (key, over))
        return ours.top1 - theirs.top1 if self.shows_top1 and ours and theirs else None

    @property
    def comparisons(self) -> tuple[tuple[str, str], ...]:
        """The pairs of rows that are both in the table."""
        return tuple(pair for pair in self.reproduction.comparisons if set(pair) <= self.by_key.keys())

    @property
    def notes(self) -> tuple[str, ...]:
        """Footnotes: what is shown, what of the setting is not the paper's, the quirks of the printed figures."""
        split = "validation split, best epoch" if self.split == "val" else "test split, best epoch on validation"
        shown = f"Top-1 in %, {split}, mean ± sample standard deviation over n seeds; gains are paired by seed."
        departures = self.departures
        apart = (
            f"Not at the published setting ({'; '.join(departures)}): only order and gaps can be compared."
            if departures
            else "At the published setting."
        )
        validation = [f"{r.row.label} {mean.mean:.1f}" for r in self.results if (mean := self.top1(r.row.key, "val"))]
        beside = (f"Validation means: {', '.join(validation)}.",) if self.split == "test" and validation else ()
        return (shown, *beside, apart, *(note.text for note in self.reproduction.notes if self._applies(note)))

    @property
    def departures(self) -> tuple[str, ...]:
        """How the setting differs from that of the printed figures."""
        setting, paper = self.setting, recipe_from(PUBLISHED_RECIPE)
        epochs = f"{setting.recipe.fp.epochs}+{setting.recipe.qat.epochs} epochs, not 1000+1000"
        same_phases = (setting.recipe.fp, setting.recipe.qat) == (paper.fp, paper.qat)
        same_rest = _beside_phases_and_teacher(setting.recipe) == _beside_phases_and_teacher(paper)
        same_kind = (setting.model.norm, setting.model.recu) == ("batch", True)  # beside its widths
        checks = (
            (
                self.shows_cost and same_kind,
                f"model {setting.model_name} at {setting.base.image_size} px, not Tiny at 224",
            ),
            (self.shows_top1, f"data {setting.data.name}, not {PUBLISHED_DATA}"),
            (same_phases, epochs),
            (same_rest, f"recipe {setting.recipe_name}, not {PUBLISHED_RECIPE}"),
            (_taught_by_deit_tiny(setting.recipe), f"teacher {setting.recipe.teacher}, not a fine-tuned DeiT-Tiny"),
            (setting.seeds == PUBLISHED_SEEDS, f"seeds {', '.join(map(str, setting.seeds))}, not 0, 1, 2"),
            (self.split == "test", "validation accuracy, not test (--test)"),
        )
        return tuple(text for holds, text in checks if not holds)

    def printed(self, row: Row) -> tuple[Published | None, float | None]:
        """The row's printed figures where its costs are comparable, and its printed Top-1 where the data is."""
        return (
            row.published if self.shows_cost else None,
            row.published.top1 if row.published and self.shows_top1 else None,
        )

    def to_plain(self) -> list[dict[str, Any]]:
        """The table and its comparisons as rows of plain data, units in the names, None where there is no figure."""
        return [*map(self._plain_row, self.results), *(self._plain_pair(*pair) for pair in self.comparisons)]

    def _plain_row(self, result: RowResult) -> dict[str, Any]:
        row = result.row
        cost, top1 = self.printed(row)
        val, test, shown = (self.top1(row.key, split) for split in ("val", "test", None))
        gain = self.gain(row.key, row.over) if row.over else None
        return _complete(
            kind="model",
            key=row.key,
            label=row.label,
            over=row.over or None,
            hidden_factor=row.hidden,
            intermediate_factor=row.intermediate,
            precision=row.precision,
            downsampling=row.downsampling or row.precision,
            memory_mib=result.cost.memory_bytes / MIB,
            memory_mib_published=None if cost is None else cost.mib,
            ops_millions=result.cost.ops / 1e6,
            ops_millions_published=None if cost is None else cost.mops,
            seeds=0 if shown is None else shown.n,
            top1_percent_published=top1,
            difference_to_published_points=None if shown is None or top1 is None else shown.mean - top1,
            **_spread("val_top1", "percent", val),
            **_spread("test_top1", "percent", test),
            **_gain(gain),
        )

    def _plain_pair(self, key: str, over: str) -> dict[str, Any]:
        gain = self.gain(key, over)
        labels = (self.by_key[k].row.label for k in (key, over))
        return _complete(
            kind="comparison",
            key=key,
            label=" - ".join(labels),
            over=over,
            seeds=0 if gain is None else gain.n,
            gain_points_published=self.published_gain(key, over),
            **_gain(gain),
        )

    def _accuracies(self, key: str, split: str | None) -> dict[int, float]:
        result = self.by_key[key]
        return result.test if (split or self.split) == "test" else result.val

    def _applies(self, note: Note) -> bool:
        marked = not note.mark or any(note.mark in result.row.label for result in self.results)
        return marked and (self.shows_cost or not note.of_published)


COLUMNS = (
    *("kind", "key", "label", "over", "hidden_factor", "intermediate_factor", "precision", "downsampling"),
    *("memory_mib", "memory_mib_published", "ops_millions", "ops_millions_published", "seeds"),
    *("val_top1_percent_mean", "val_top1_percent_sd", "test_top1_percent_mean", "test_top1_percent_sd"),
    *("top1_percent_published", "difference_to_published_points"),
    *("gain_points_mean", "gain_points_sd", "gain_points_ci95_half_width", "gain_points_published"),
)


def report_of(
    reproduction: Reproduction, setting: Setting, rows: tuple[Row, ...], runs: tuple[Run, ...], split: str
) -> Report:
    """Collect what the runs' studies hold for `rows`; raises `InvalidInput` where one holds another question."""
    results = []
    for row in rows:
        own = [run for run in runs if run.row.key == row.key]
        val, test = ({run.seed: getattr(run, name) for run in own} for name in ("accuracy", "test_accuracy"))
        cost = row.candidate(setting.model.family, setting.base).cost().total
        results.append(RowResult(row, cost, _known(val), _known(test)))
    failures = tuple(run.failure for run in runs if run.failure)
    return Report(reproduction, setting, tuple(results), split, failures)


def _known(accuracies: dict[int, float | None]) -> dict[int, float]:
    return {seed: a for seed, a in accuracies.items() if a is not None}


def _beside_phases_and_teacher(recipe: TrainingRecipe) -> dict[str, Any]:
    named = ("fp", "qat", "teacher", "teacher_model", "teacher_image_size")
    return {name: value for name, value in recipe.meaning_json().items() if name not in named}


def _taught_by_deit_tiny(recipe: TrainingRecipe) -> bool:
    path = recipe.teacher_file
    card = read_card(path) if path is not None and path.is_file() else None
    return (recipe.teacher_model if card is None else card.model).startswith("deit_tiny")


def _complete(**figures: Any) -> dict[str, Any]:
    return {name: figures.get(name) for name in COLUMNS}


def _spread(name: str, unit: str, value: Mean | None) -> dict[str, float | None]:
    mean, deviation = (None, None) if value is None else (value.mean, value.deviation)
    return {f"{name}_{unit}_mean": mean, f"{name}_{unit}_sd": deviation}


def _gain(value: Mean | None) -> dict[str, float | None]:
    half_width = None if value is None else value.half_width
    return {**_spread("gain", "points", value), "gain_points_ci95_half_width": half_width}
