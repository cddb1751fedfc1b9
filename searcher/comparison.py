"""Studies side by side: what was asked, what came of it, how fast, and what they have in common; no rich, no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

from bhvit.device_profile import DeviceProfile
from bhvit.errors import InvalidInput
from searcher.budget import Budget, device_words
from searcher.charts.chart import ACCURACY, Axis, Chart, Form, Role, Series, Unit
from searcher.front import pareto_front
from searcher.pruning import pruning_to_plain
from searcher.quantities import QUANTITIES
from searcher.ranking import metrics_of, ranked
from searcher.records import Outcome, TrialRecord
from searcher.repeats import candidate_id
from searcher.snapshot import StudySnapshot
from searcher.statistics import Mean, mean_of

STEPS = (5, 10, 20, 50)  # and these times 10, 100, ...: after how many trainings studies are compared


@dataclass(frozen=True)
class Asked:
    """A key of the space files that the studies do not agree in, with the value of each (None where it is absent)."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Agreement:
    """Candidates that two studies (their places in the comparison) both trained to the end.

    `difference` is of their accuracies (0..1), second minus first.
    """

    first: int
    second: int
    difference: Mean | None

    @property
    def candidates(self) -> int:
        """How many."""
        return 0 if self.difference is None else self.difference.n


@dataclass(frozen=True)
class Comparison:
    """Two or more studies; every tuple of results has one entry a study, in their order."""

    studies: tuple[StudySnapshot, ...]

    def __post_init__(self) -> None:
        if len(self.studies) < 2:
            raise InvalidInput("compare takes at least two studies, but it is given one; name another one.")
        paths = [study.folder.path.resolve() for study in self.studies]
        for i, path in enumerate(paths):
            if path in paths[:i]:
                raise InvalidInput(f"compare takes each study once, but {self.studies[i].folder.path} is given twice.")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of their folders, or whole paths where two are called the same."""
        short = [study.folder.path.resolve().name for study in self.studies]
        distinct = len(set(short)) == len(short)
        return tuple(short) if distinct else tuple(str(study.folder.path) for study in self.studies)

    @cached_property
    def asked(self) -> tuple[Asked, ...]:
        """What the studies do not agree in: question, budget, number of trials, settings of the search.

        Where one of them chooses among several models, these are compared by label: their labels, and of a model what
        those studies do not agree in that have it. The only model of a study has the label of the only model of its
        family in the others, else the name of that.
        """
        mixed = any(study.space.mixed for study in self.studies)
        settings = [self._by_label(study) if mixed else (_settings(study), {}) for study in self.studies]
        whole = [dict(_leaves(plain)) for plain, _ in settings]
        of_models = [models for _, models in settings]
        rows = _differing(whole, "", list(range(len(whole))))
        for label in dict.fromkeys(label for models in of_models for label in models):
            having = [i for i, models in enumerate(of_models) if label in models]
            flat = [dict(_leaves(models.get(label, {}))) for models in of_models]
            rows += _differing(flat, f"model.{label}.", having)
        return tuple(rows)

    @cached_property
    def common_budget(self) -> Budget | None:
        """The tightest limit of each quantity; None where the studies count costs in different ways."""
        budgets = [study.budget for study in self.studies]
        if len({budget.accounting for budget in budgets}) > 1:
            return None
        limits: dict[str, Any] = {
            name: min((b.limits[name] for b in budgets if name in b.limits), default=None) for name in self.quantities
        }
        device = None if limits.get("latency") is None else self.device
        return Budget(**limits, accounting=budgets[0].accounting, device=device)

    @property
    def device(self) -> DeviceProfile | None:
        """The device that all latencies are predicted for; None where they are of several, or of none."""
        devices = [study.space.device for study in self.studies]
        return devices[0] if all(device == devices[0] for device in devices) else None

    @property
    def quantities(self) -> tuple[str, ...]:
        """The costs in which the studies can be compared: latency only where all have it of one device."""
        return tuple(name for name in QUANTITIES if name != "latency" or self.device is not None)

    @cached_property
    def common_rankings(self) -> tuple[list[TrialRecord], ...]:
        """The trained trials of each study within the common budget (its own one where there is none), best first."""
        common = self.common_budget
        return tuple(
            study.ranked if common is None or common == study.budget else ranked(study.records, common)
            for study in self.studies
        )

    @cached_property
    def fronts(self) -> tuple[list[TrialRecord], ...] | None:
        """The trials of each study on the Pareto front of all studies within the common budget.

        Equal points of two studies count for both. None where costs cannot be compared.
        """
        if self.common_budget is None:
            return None
        objectives = ("accuracy", *self.quantities)
        own = [pareto_front(ranking, self.common_budget, objectives) for ranking in self.common_rankings]
        together = pareto_front([record for front in own for record in front], self.common_budget, objectives)
        points = {self._point(record) for record in together}
        return tuple([record for record in front if self._point(record) in points] for front in own)

    @property
    def front_size(self) -> int | None:
        """Points on that front; None where costs cannot be compared."""
        return None if self.fronts is None else len({self._point(record) for front in self.fronts for record in front})

    @cached_property
    def progress(self) -> tuple[tuple[int, tuple[float | None, ...]], ...]:
        """After 5, 10, 20, ... trainings: the best accuracy (0..1) of each study within the common budget.

        Trainings count in the order of their numbers, failed ones too; None where a study had fewer, or nothing within.
        """
        curves = self.curves
        longest = max(map(len, curves))
        return tuple(
            (count, tuple(curve[count - 1] if count <= len(curve) else None for curve in curves))
            for count in _steps(longest)
        )

    @cached_property
    def curves(self) -> tuple[list[float | None], ...]:
        """The best accuracy of each study after each of its trainings; None before any is within the common budget."""
        return tuple(self._best_so_far(place) for place in range(len(self.studies)))

    @property
    def chart(self) -> Chart | None:
        """These curves; None where no study has anything to draw."""
        series = []
        for index, (name, curve) in enumerate(zip(self.names, self.curves, strict=True)):
            ends = zip(curve, [None, *curve], strict=False)  # where the best changes, and the last training
            points = [
                (float(n), best)
                for n, (best, before) in enumerate(ends, 1)
                if best is not None and (best != before or n == len(curve))
            ]
            if points:
                xs, ys = zip(*points, strict=True)
                series.append(Series(name, Role.RANK, xs, ys, Form.STEPS, index=index))
        return Chart("", Axis("trainings", Unit.COUNT), ACCURACY, tuple(series)) if series else None

    @cached_property
    def agreements(self) -> tuple[Agreement, ...]:
        """How well the studies agree on the candidates that they share, pair by pair."""
        accuracies = [_accuracy_by_candidate(study.records) for study in self.studies]
        return tuple(_agreement(i, j, accuracies) for i, j in combinations(range(len(self.studies)), 2))

    def _by_label(self, study: StudySnapshot) -> tuple[dict[str, Any], dict[str, Any]]:
        """A study's settings without what its models are, and that by label."""
        settings = _settings(study)
        if study.space.mixed:
            return settings, settings.pop("model")
        family = study.space.family
        labels = {m.label for s in self.studies if s.space.mixed for m in s.space.models if m.family == family}
        own = {**settings.pop("model"), **{name: settings.pop(name) for name in ("widths", "precision")}}
        return {"models": [family], **settings}, {labels.pop() if len(labels) == 1 else family: own}

    def _point(self, record: TrialRecord) -> tuple[float, ...]:
        return metrics_of(record).accuracy, *(QUANTITIES[name].of(record) for name in self.quantities)

    def _best_so_far(self, place: int) -> list[float | None]:
        """Best accuracy within the common budget after each training of a study."""
        study = self.studies[place]
        within = {record.number for record in self.common_rankings[place]}
        best: float | None = None
        curve = []
        for record in study.records:
            if record.outcome.finished and record.attempts > 0:
                if record.number in within:
                    accuracy = metrics_of(record).accuracy
                    best = accuracy if best is None else max(best, accuracy)
                curve.append(best)
        return curve


def comparison_of(studies: Sequence[StudySnapshot]) -> Comparison:
    """The studies side by side; where some name one device, the others are seen by it, too."""
    named = list(dict.fromkeys(study.space.device for study in studies if study.space.device is not None))
    if len(named) == 1:
        studies = [study.under(replace(study.space.file.budget, device=named[0])) for study in studies]
    return Comparison(tuple(studies))


def _settings(study: StudySnapshot) -> dict[str, Any]:
    """All that may differ: the question, and what is no part of it."""
    space = study.space
    search = {**asdict(space.search), "pruner": pruning_to_plain(space.search.pruner), "trials": study.planned}
    for name in ("seed", "objectives"):  # are part of the question
        del search[name]
    limits: dict[str, Any] = {name: study.budget.limits.get(name) for name in QUANTITIES}
    if study.space.device is not None:
        limits["device"] = device_words(study.space.device)
    question = {**space.question, "objectives": list(space.search.objectives)}
    return {**question, "budget": limits, "search": search, "enqueued": len(space.enqueued)}


def _differing(flat: Sequence[Mapping[str, Any]], prefix: str, compared: Sequence[int]) -> list[Asked]:
    """The keys, after `prefix`, in whose values the `compared` of the studies do not agree."""
    rows = []
    for key in dict.fromkeys(key for values in flat for key in values):
        values = tuple(of_study.get(key) for of_study in flat)
        if any(values[i] != values[compared[0]] for i in compared):
            rows.append(Asked(f"{prefix}{key}", values))
    return rows


def _leaves(data: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key -> value of nested plain data; lists of plain values stay whole."""
    if isinstance(data, Mapping):
        for name, value in data.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(data, list | tuple) and any(isinstance(value, Mapping) for value in data):
        for i, value in enumerate(data):
            yield from _leaves(value, f"{key}[{i}]")
    else:
        yield key, list(data) if isinstance(data, tuple) else data


def _steps(longest: int) -> Iterator[int]:
    """5, 10, 20, 50, 100, 200, ... below the longest study, and its length."""
    factor = 1
    while True:
        for step in STEPS if factor == 1 else STEPS[1:]:
            if step * factor >= longest:
                if longest:
                    yield longest
                return
            yield step * factor
        factor *= 10


def _accuracy_by_candidate(records: Sequence[TrialRecord]) -> dict[str, float]:
    """Candidate -> accuracy of its first complete training."""
    found: dict[str, float] = {}
    for record in records:
        if record.outcome is Outcome.COMPLETE:
            found.setdefault(candidate_id(record), metrics_of(record).accuracy)
    return found


def _agreement(first: int, second: int, accuracies: Sequence[Mapping[str, float]]) -> Agreement:
    ours, theirs = accuracies[first], accuracies[second]
    return Agreement(first, second, mean_of([theirs[name] - ours[name] for name in ours if name in theirs]))
