"""How well a search chooses among models: accuracy lost where they differ little or much, ours beside Optuna's TPE.

Run `python benchmarks/mixed_search.py [--seeds 30] [--trainings 20] [--gaps 2 5 10 20]`. Four models share a budget:
a BHViT, a BinaryViT, a ReActNet and a DeiT in half precision, which is `cheap` (5 MiB, 60 M OPs for all) or `dear`
(DeiT-Tiny; 12 MiB, 240 M OPs). Costs are real and accuracies invented, as in `landscapes.py`, the same effects for the
same variables of two models. Then the best of each model is moved to a level of its own: the worst is `gap` points
below the best, the others a quarter and a half of it; every seed has them in another order. A training's noise has a
deviation of half a point. Every search first trains each model once with the default of every variable, as
docs/space_files.md recommends.

`alone` is our search of the best model by itself, as if somebody had known. Regret is that of the best configuration
trained, in points, after 40 %, 60 % and all of the trainings; intervals are 95 %; + marks a strategy worse than
ours (the interval of the paired difference excludes zero), - a better one, = neither. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import optuna
from landscapes import Floats, invented
from optuna.samplers import TPESampler

from searcher.derived import of_model
from searcher.evidence import Digits, TrialResult
from searcher.feasible import FeasibleSet, feasible_set
from searcher.model_space import MODEL
from searcher.proposer import Proposer
from searcher.records import Outcome
from searcher.space import Space, parse_space

NOISE = 0.005  # standard deviation of a training's accuracy
LEVELS = (0.0, 0.25, 0.5, 1.0)  # how far below the best a model is, in gaps
SIDE = {"image_size": 96, "classes": 37}
HIDDEN = {"hidden": {"choices": [1, 1.5, 2]}}
CHEAP = {"embed_dims": [96], "intermediate_dims": [384], "depths": [6], "num_heads": [3]}
LIMITS = {"cheap": {"memory": "5 MiB", "ops": "60 M"}, "dear": {"memory": "12 MiB", "ops": "240 M"}}
DOWNSAMPLING = {"layers": "downsample*", "tie": "each", "choices": ["binary", "int8", "fp16"]}
LATE = {"layers": "stage[23].*.attention", "tie": "stage", "choices": ["binary", "int4"]}
LAYERS = {"layers": "stage*", "tie": "stage", "choices": ["binary", "int4"]}


def space_with(deit: str) -> dict[str, Any]:
    """Plain data of the space whose DeiT is `cheap` or `dear`."""
    size = CHEAP if deit == "cheap" else {"preset": "tiny"}
    return {
        "model": [
            {"name": "bhvit", "family": "bhvit", "preset": "tiny", **SIDE},
            {"name": "binaryvit", "family": "binaryvit", "preset": "small", **SIDE},
            {
                "name": "reactnet",
                "family": "reactnet",
                "preset": "resnet18",
                **SIDE,
                "widths": HIDDEN,
                "precision": {"groups": [LAYERS]},
            },
            {"name": "deit", "family": "deit", **size, **SIDE, "widths": HIDDEN, "precision": {"default": "fp16"}},
        ],
        "widths": {**HIDDEN, "intermediate": {"choices": [1, 2, 3]}},
        "precision": {"default": "binary", "groups": [DOWNSAMPLING, LATE]},
        "budget": LIMITS[deit],
    }


@dataclass(frozen=True)
class Task:
    """A space within its budget and the true accuracy (0..1) of each row of `feasible`."""

    space: Space
    feasible: FeasibleSet
    accuracy: Floats
    seed: int

    def train(self, number: int, digits: Digits) -> TrialResult:
        """What a training measures."""
        row = self.row_of(digits)
        noise = np.random.default_rng([self.seed, number]).normal(scale=NOISE)
        accuracy = float(self.accuracy[row] + noise)
        costs = float(self.feasible.memory_bytes[row]), float(self.feasible.ops[row])
        return TrialResult(number, digits, Outcome.COMPLETE, accuracy, (accuracy,), *costs)

    def row_of(self, digits: Digits) -> int:
        row = self.feasible.row_of(digits)
        assert row is not None, f"{self.space.choices_of(digits)} is over the budget"
        return row

    def regrets(self, trained: list[Digits], marks: list[int]) -> list[float]:
        """Points lost by the best of the first so many trained."""
        found = np.maximum.accumulate([self.accuracy[self.row_of(digits)] for digits in trained])
        return [100 * float(self.accuracy.max() - found[min(mark, len(found)) - 1]) for mark in marks]


@cache
def models(deit: str) -> tuple[Space, FeasibleSet, tuple[tuple[Space, FeasibleSet], ...]]:
    """The mixed space, and the space of each of its models alone."""
    space = parse_space(space_with(deit), deit)
    alone = [of_model(space, model.label) for model in space.models]
    return space, feasible_set(space), tuple((each, feasible_set(each)) for each in alone)


def tasks(deit: str, gap: float, seed: int) -> tuple[Task, Task]:
    """The task of choosing among the models, and that of the best model alone."""
    space, feasible, alone = models(deit)
    order = np.random.default_rng([seed, 1]).permutation(len(alone))
    accuracy = np.empty(len(feasible))
    parts = []
    for place, ((own, rows), level) in enumerate(zip(alone, np.array(LEVELS)[order], strict=True)):
        points = invented(own, rows.codes, np.random.default_rng(seed))
        parts.append(Task(own, rows, (70 - level * gap + points - points.max()) / 100, seed))
        accuracy[feasible.codes[:, 0] == place] = parts[-1].accuracy
    return Task(space, feasible, accuracy, seed), parts[int(np.argmin(order))]


def start_of(task: Task) -> list[Digits]:
    """The default of every model."""
    labels = [{MODEL: model.label} for model in task.space.models] if task.space.mixed else [{}]
    return [task.space.digits_of(task.space.complete(point)) for point in labels]


def ours(task: Task, trainings: int) -> list[Digits]:
    proposer, results = Proposer(task.space, task.feasible, task.seed), list[TrialResult]()
    start = start_of(task)
    while len(results) < min(trainings, len(task.feasible)):
        number = len(results)
        digits = start[number] if number < len(start) else proposer.propose(number, results, [])
        assert digits is not None
        results.append(task.train(number, digits))
    return [result.digits for result in results]


def chance(task: Task, trainings: int) -> list[Digits]:
    start = start_of(task)
    rows = np.random.default_rng([task.seed, 2]).permutation(len(task.feasible))
    others = [tuple(row) for row in task.feasible.codes[rows].tolist() if tuple(row) not in start]
    return [*start, *others][:trainings]


def tpe(task: Task, trainings: int) -> list[Digits]:
    """Optuna's, multivariate and grouped by model; told of budget and repeats as failures, which are not trained."""
    sampler = TPESampler(seed=task.seed, multivariate=True, group=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    trained: list[Digits] = []
    for digits in start_of(task):
        study.enqueue_trial(task.space.choices_of(digits))
    for _ in range(20 * trainings):
        if len(trained) == trainings:
            break
        trial = study.ask()
        label = trial.suggest_categorical(MODEL, [model.label for model in task.space.models])
        model = task.space.model_of({MODEL: label})
        chosen = {v.name: trial.suggest_categorical(f"{label} {v.name}", v.choices) for v in model.variables}
        digits = task.space.digits_of({MODEL: label, **chosen})
        if task.feasible.row_of(digits) is None or digits in trained:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        study.tell(trial, task.train(len(trained), digits).accuracy)
        trained.append(digits)
    return trained


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--first-seed", type=int, default=0, help="constants were chosen on seeds from 1000")
    parser.add_argument("--trainings", type=int, default=20)
    parser.add_argument("--gaps", type=float, nargs="+", default=[2, 5, 10, 20], help="points")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    marks = [options.trainings * percent // 100 for percent in (40, 60, 100)]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    report: dict[str, Any] = {}
    for deit in LIMITS:
        space, feasible, alone = models(deit)
        counts = ", ".join(f"{model.label} {len(rows)}" for model, (_, rows) in zip(space.models, alone, strict=True))
        print(f"\n{deit} DeiT: {len(feasible)} of {space.size} configurations within the budget ({counts})", flush=True)
        for gap in options.gaps:
            pairs = [tasks(deit, gap, seed) for seed in seeds]
            report[f"{deit}, gap {gap:g}"] = compare(gap, pairs, options.trainings, marks)
    print(json.dumps({"benchmark": "mixed_search", "seeds": options.seeds, "marks": marks, "results": report}))


def compare(gap: float, pairs: list[tuple[Task, Task]], trainings: int, marks: list[int]) -> dict[str, Any]:
    """Run every strategy on every seed and print a table."""
    strategies: dict[str, Callable[[Task, Task], list[Digits]]] = {
        "ours": lambda mixed, best: ours(mixed, trainings),
        "alone": lambda mixed, best: ours(best, trainings),
        "Optuna TPE": lambda mixed, best: tpe(mixed, trainings),
        "chance": lambda mixed, best: chance(mixed, trainings),
    }
    print(f"\nworst model {gap:g} points below the best\n{'':12}" + "".join(f"{f'after {mark}':>16}" for mark in marks))
    report: dict[str, Any] = {}
    base = None
    for name, strategy in strategies.items():
        losses = np.array(
            [(best if name == "alone" else mixed).regrets(strategy(mixed, best), marks) for mixed, best in pairs]
        )
        base = losses if base is None else base
        halves, differences = _half(losses), losses - base
        means, signs = losses.mean(axis=0), np.sign(differences.mean(axis=0))
        verdicts = np.where(np.abs(differences.mean(axis=0)) <= _half(differences), 0, signs)
        cells = zip(means, halves, verdicts, strict=True)
        print(f"{name:12}" + "".join(f"{f'{m:.2f} ±{h:.2f} ' + '=+-'[int(v)]:>16}" for m, h, v in cells), flush=True)
        report[name] = {"loss": means.round(4).tolist(), "ci95": halves.round(4).tolist()}
    return report


def _half(losses: Floats) -> Floats:
    """Half the width of the 95 % interval of the mean over seeds."""
    return np.asarray(1.96 * losses.std(axis=0, ddof=1) / len(losses) ** 0.5)


if __name__ == "__main__":
    main()
