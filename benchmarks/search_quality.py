"""How good a search is: accuracy lost against the best candidate within the budget, on synthetic landscapes.

Run `python benchmarks/search_quality.py [--seeds 24] [--trials 40] [--share 0.1]`. Real candidates and costs, invented
accuracies: width and precision help with diminishing returns, wide layers need precision less, a narrow MLP wastes a
wide embedding, and every landscape has its own random weights and interactions. Regret is in percentage points. The
last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray

from searcher.feasible import FeasibleSet, feasible_set
from searcher.grid import Grid
from searcher.sampler import FeasibleTPESampler, distributions
from searcher.space import Space, parse_space

NOISE = 0.3  # standard deviation of a training's accuracy, points
PLAIN = {
    "model": {"preset": "tiny"},
    "widths": {"hidden": {"choices": [1, 1.5, 2, 2.5, 3]}, "intermediate": {"choices": [1, 2, 3, 4]}},
    "precision": {
        "default": "binary",
        "groups": [
            {"layers": "downsample*", "tie": "each", "choices": ["binary", "int8", "fp16"]},
            {"layers": "stage[23].*.attention", "tie": "stage", "choices": ["binary", "int4"]},
        ],
    },
}


@dataclass(frozen=True)
class Problem:
    """A space under a budget with the true accuracy of every configuration."""

    space: Space
    feasible: FeasibleSet
    accuracy: NDArray[np.float64]

    def measured(self, choices: dict[str, float | str], seed: int) -> float:
        """Accuracy of one training; the same for the same seed."""
        index = self.space.encode(choices)
        noise = np.random.default_rng([seed, index]).normal(scale=NOISE)
        return float(self.accuracy[index] + noise)

    def within_budget(self, choices: dict[str, float | str]) -> bool:
        """Whether a configuration is within the budget."""
        return self.feasible.row_of(self.space.digits_of(choices)) is not None


@dataclass(frozen=True)
class Result:
    """One search: what it lost, and how it spent its trainings."""

    regret: float
    over_budget: int
    repeats: int
    ask_seconds: float


def make_problem(share: float, seed: int) -> Problem:
    """A landscape of this seed, under a budget that the given share of configurations meets."""
    free = parse_space(PLAIN, "landscape")
    blocks = list(Grid(free).blocks())
    memory = np.concatenate([b.memory_bytes for b in blocks])
    operations = np.concatenate([b.ops for b in blocks])
    load = np.maximum(memory / np.median(memory), operations / np.median(operations))
    limit = np.quantile(load, share)
    budget = {"memory": float(limit * np.median(memory)), "ops": float(limit * np.median(operations))}
    space = parse_space({**PLAIN, "budget": budget}, "landscape")
    return Problem(space, feasible_set(space), _landscape(space, np.concatenate([b.codes for b in blocks]), seed))


def _landscape(space: Space, codes: NDArray[np.uint8], seed: int) -> NDArray[np.float64]:
    draw = np.random.default_rng(seed)
    places = np.stack([np.array(v.positions)[codes[:, i]] for i, v in enumerate(space.variables)], axis=1)
    hidden, intermediate, precisions = places[:, 0], places[:, 1], places[:, 2:]
    gain = (1 - np.exp(-2 * precisions)) @ draw.uniform(0.3, 1.5, precisions.shape[1])
    accuracy = (
        80 + draw.uniform(2, 5) * (1 - np.exp(-2 * hidden)) + draw.uniform(1, 3) * (1 - np.exp(-2 * intermediate))
    )
    accuracy += gain * (1 - draw.uniform(0.2, 0.7) * hidden) - draw.uniform(0.5, 2) * np.maximum(
        0, hidden - intermediate
    )
    pairs = draw.normal(scale=0.4, size=(places.shape[1],) * 2)
    centred = places - 0.5
    return np.asarray(accuracy + np.einsum("ni,ij,nj->n", centred, np.triu(pairs, 1), centred))


def run_search(problem: Problem, strategy: str, trials: int, seed: int) -> Result:
    """One search of `trials` trainings by `strategy`."""
    sampler, soft, prune = STRATEGIES[strategy](problem, seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    names = distributions(problem.space.variables)
    trained: list[dict[str, float | str]] = []
    asking = 0.0
    for _ in range(20 * trials):
        if len(trained) == trials:
            break
        start = time.perf_counter()
        trial = study.ask(names)
        asking += time.perf_counter() - start
        fits = problem.within_budget(trial.params)
        if soft:
            trial.set_constraint("budget", 0.0 if fits else 1.0)
        if prune and not fits:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        trained.append(trial.params)
        study.tell(trial, problem.measured(trial.params, seed))
    return _judge(problem, trained, asking / len(study.trials))


def _judge(problem: Problem, trained: list[dict[str, float | str]], ask_seconds: float) -> Result:
    space, inside = problem.space, [p for p in trained if problem.within_budget(p)]
    best = max(problem.accuracy[space.encode(space.choices_of(row.tolist()))] for row in problem.feasible.codes)
    found = max((problem.accuracy[space.encode(p)] for p in inside), default=problem.accuracy.min())
    distinct = len({space.encode(p) for p in trained})
    return Result(float(best - found), len(trained) - len(inside), len(trained) - distinct, ask_seconds)


Strategy = Callable[[Problem, int], tuple[optuna.samplers.BaseSampler, bool, bool]]
STRATEGIES: dict[str, Strategy] = {
    "acquisition over the feasible set (ours)": lambda p, s: (FeasibleTPESampler(p.space, p.feasible, s), False, False),
    "random among feasible, no repeats": lambda p, s: (
        FeasibleTPESampler(p.space, p.feasible, s, startup=10**9),
        False,
        False,
    ),
    "TPE, prune over-budget": lambda p, s: (optuna.samplers.TPESampler(seed=s), False, True),
    "TPE, set_constraint + prune": lambda p, s: (optuna.samplers.TPESampler(seed=s), True, True),
    "TPE, set_constraint alone": lambda p, s: (optuna.samplers.TPESampler(seed=s), True, False),
}


def main() -> None:
    """Run every strategy on every seed and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seeds", type=int, default=24)
    arguments.add_argument("--trials", type=int, default=40)
    arguments.add_argument("--share", type=float, default=0.1)
    args = arguments.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    problems = [make_problem(args.share, seed) for seed in range(args.seeds)]
    print(f"{problems[0].space.size} configurations, {len(problems[0].feasible)} feasible, {args.trials} trainings")
    print(f"{'strategy':42} {'regret':>7} {'95 % CI':>8} {'over budget':>12} {'repeats':>8} {'ask ms':>7}")
    report = {}
    for name in STRATEGIES:
        results = [run_search(problem, name, args.trials, seed) for seed, problem in enumerate(problems)]
        regrets = np.array([r.regret for r in results])
        half = 1.96 * regrets.std(ddof=1) / len(regrets) ** 0.5
        over, repeats, ask = (
            float(np.mean([getattr(r, field) for r in results])) for field in ("over_budget", "repeats", "ask_seconds")
        )
        print(f"{name:42} {regrets.mean():7.3f} {half:8.3f} {over:12.1f} {repeats:8.1f} {1000 * ask:7.1f}", flush=True)
        report[name] = {"regret": regrets.mean(), "ci95": half, "over_budget": over, "repeats": repeats, "ask_s": ask}
    print(json.dumps({"benchmark": "search_quality", "share": args.share, "trials": args.trials, "results": report}))


if __name__ == "__main__":
    main()
