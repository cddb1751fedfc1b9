"""How good searches are: what each sampler misses after equally many trainings, on landscapes that are known whole.

    python benchmarks/search_quality.py [--seeds 30] [--only ours] [--landscapes smooth-10 ...] [--skip-gp]

Every sampler gets the same space, budget, number of trainings and seeds. Regret is the accuracy, in points, of the best
configuration within the budget minus that of the best one trained; exhaustive training has regret 0 and needs as many
trainings as there are configurations. `volume` tables are searches for the front of accuracy against memory: the share
of the dominated volume of the whole front that is missing, in percent. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import optuna
from landscapes import Landscape, synthetic, trained
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler

from searcher.evidence import Digits, TrialResult
from searcher.feasible import feasible_set
from searcher.proposer import Proposer
from searcher.records import Outcome
from searcher.space import parse_space

ASKS = 20  # for every training, before a sampler that asks for nothing within the budget is given up
POINTS = (10, 20, 40)  # trainings after which regret is told
LANDSCAPES: dict[str, tuple[Callable[[int], Landscape], int]] = {
    "smooth-10": (lambda seed: synthetic(0.10, seed), 40),
    "smooth-30": (lambda seed: synthetic(0.30, seed), 40),
    "smooth-2": (lambda seed: synthetic(0.02, seed), 25),
    "rugged": (lambda seed: synthetic(0.10, seed, noise=1.0, bumps=0.5), 40),
    "trained": (trained, 40),
}
VOLUMES = ("smooth-30", "trained")  # landscapes whose fronts are searched as well


@dataclass(frozen=True)
class Search:
    """Configurations trained, by index and in order, and the mean seconds of an ask."""

    trained: list[int]
    ask_seconds: float


Strategy = Callable[[Landscape, int, int], Search]


def ours(landscape: Landscape, trials: int, seed: int, lookahead: int = 1, startup: int | None = None) -> Search:
    """The search's own sampler; with a lookahead of 8 as for four workers."""
    proposer = Proposer(landscape.space, landscape.feasible, seed, startup)
    results: list[TrialResult] = []
    seconds = 0.0
    for number in range(min(trials, len(landscape.feasible))):
        horizon = max(0, number - lookahead + 1)
        start = time.perf_counter()
        digits = proposer.propose(number, results[:horizon], [r.digits for r in results[horizon:]])
        seconds += time.perf_counter() - start
        assert digits is not None
        results.append(_result(landscape, number, digits))
    return Search([landscape.index(r.digits) for r in results], seconds / len(results))


def at_random(landscape: Landscape, trials: int, seed: int) -> Search:
    """Configurations within the budget in random order, none twice."""
    return ours(landscape, trials, seed, startup=10**9)


def by_optuna(
    sampler: Callable[[int], BaseSampler], *, soft: bool = False, prune: bool = False, costs: bool = False
) -> Strategy:
    """A stock sampler that is told of the budget by pruning what exceeds it or (`soft`) by `set_constraint`.

    `costs` makes memory an objective.
    """

    def search(landscape: Landscape, trials: int, seed: int) -> Search:
        names = {v.name: optuna.distributions.CategoricalDistribution(v.choices) for v in landscape.space.variables}
        study = optuna.create_study(directions=["maximize"] + ["minimize"] * costs, sampler=sampler(seed))
        found: list[int] = []
        seconds = 0.0
        for _ in range(ASKS * trials):
            if len(found) == trials:
                break
            start = time.perf_counter()
            trial = study.ask(names)
            seconds += time.perf_counter() - start
            index = landscape.space.encode(trial.params)
            if soft:
                trial.set_constraint("budget", 0.0 if landscape.within[index] else 1.0)
            if prune and not landscape.within[index]:
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                continue
            found.append(index)
            accuracy = landscape.measured[index]
            study.tell(trial, [accuracy, landscape.memory_bytes[index]] if costs else accuracy)
        return Search(found, seconds / len(study.trials))

    return search


STRATEGIES: dict[str, Strategy] = {
    "ours": ours,
    "ours, four workers (lookahead 8)": lambda landscape, trials, seed: ours(landscape, trials, seed, lookahead=8),
    "random within the budget": at_random,
    "TPE, over-budget pruned": by_optuna(lambda seed: TPESampler(seed=seed), prune=True),
    "TPE, set_constraint": by_optuna(lambda seed: TPESampler(seed=seed), soft=True),
    "TPE, set_constraint, pruned": by_optuna(lambda seed: TPESampler(seed=seed), soft=True, prune=True),
    "NSGA-II, set_constraint": by_optuna(lambda seed: NSGAIISampler(seed=seed, population_size=10), soft=True),
    "GP, set_constraint": by_optuna(lambda seed: GPSampler(seed=seed), soft=True),
}
VOLUME_STRATEGIES: dict[str, Strategy] = {
    "ours": ours,
    "random within the budget": at_random,
    "NSGA-II, set_constraint": by_optuna(
        lambda seed: NSGAIISampler(seed=seed, population_size=10), soft=True, costs=True
    ),
    "TPE, set_constraint": by_optuna(lambda seed: TPESampler(seed=seed), soft=True, costs=True),
}


def _result(landscape: Landscape, number: int, digits: Digits) -> TrialResult:
    row = landscape.feasible.row_of(digits)
    accuracy = float(landscape.measured[landscape.index(digits)]) / 100
    memory, ops = landscape.feasible.memory_bytes[row], landscape.feasible.ops[row]
    return TrialResult(number, digits, Outcome.COMPLETE, accuracy, (accuracy,), memory, ops)


def regrets(landscape: Landscape, search: Search) -> list[float]:
    """After 1, 2, ... trainings; before anything is within the budget, what the worst configuration there misses."""
    worst = float(landscape.truth[landscape.within].min())
    values = [landscape.truth[i] if landscape.within[i] else worst for i in search.trained]
    return list(landscape.best - np.maximum.accumulate(values or [worst]))  # a sampler may find nothing to train


def missing_volumes(landscape: Landscape, search: Search) -> list[float]:
    """Percent of the front's whole volume (accuracy above the worst x log memory) after 1, 2, ... trainings."""
    inside = np.flatnonzero(landscape.within)
    worst, logs = landscape.truth[inside].min(), np.log(landscape.memory_bytes)
    largest = logs[inside].max()

    def volume(points: np.ndarray) -> float:
        order = points[np.argsort(logs[points], kind="stable")]
        heights = np.maximum.accumulate(landscape.truth[order]) - worst
        return float((heights * np.diff(np.append(logs[order], largest))).sum())

    whole = volume(inside)
    found = [i for i in search.trained if landscape.within[i]]
    counts = np.cumsum([landscape.within[i] for i in search.trained])
    return [100 * (1 - (volume(np.array(found[:n])) if n else 0.0) / whole) for n in counts] or [100.0]


def compare(
    name: str, strategies: dict[str, Strategy], seeds: int, judge: Callable[[Landscape, Search], list[float]]
) -> dict:
    """Every strategy on every seed; prints a table."""
    make, trials = LANDSCAPES[name]
    landscapes = [make(seed) for seed in range(seeds)]
    if judge is missing_volumes:
        landscapes = [_with_memory_as_objective(landscape) for landscape in landscapes]
    first = landscapes[0]
    print(f"\n{name}: {first.space.size} configurations, {len(first.feasible)} within the budget, {seeds} seeds")
    told = [n for n in POINTS if n < trials] + [trials]
    unit = "missing volume %" if judge is missing_volumes else "regret"
    heads = "".join(f"{f'after {n}':>16}" for n in told)
    print(f"{unit:34}{heads}{'over budget':>13}{'repeats':>9}{'ask ms':>8}")
    report = {}
    for label, strategy in strategies.items():
        searches = [strategy(landscape, trials, seed) for seed, landscape in enumerate(landscapes)]
        curves = [judge(landscape, search) for landscape, search in zip(landscapes, searches, strict=True)]
        after = np.array([[curve[min(n, len(curve)) - 1] for n in told] for curve in curves])
        mean, half = after.mean(axis=0), 1.96 * after.std(axis=0, ddof=1) / seeds**0.5
        pairs = list(zip(landscapes, searches, strict=True))
        over = float(np.mean([np.mean(~landscape.within[s.trained]) for landscape, s in pairs if s.trained]))
        repeats = float(np.mean([1 - len(set(s.trained)) / len(s.trained) for s in searches if s.trained]))
        ask = float(np.mean([s.ask_seconds for s in searches]))
        cells = "".join(f"{f'{m:.3f} ± {h:.3f}':>16}" for m, h in zip(mean, half, strict=True))
        print(f"{label:34}{cells}{over:>12.0%} {repeats:>8.0%}{1000 * ask:>8.1f}", flush=True)
        figures = {str(n): [m, h] for n, m, h in zip(told, mean.tolist(), half.tolist(), strict=True)}
        report[label] = {"after": figures, "over_budget": over, "repeats": repeats, "ask_s": ask}
    return report


def _with_memory_as_objective(landscape: Landscape) -> Landscape:
    plain = landscape.space.to_plain()
    plain["search"]["objectives"] = ["accuracy", "memory"]
    return Landscape(parse_space(plain, "landscape"), landscape.truth, landscape.measured)


def ask_times() -> dict[str, float]:
    """Seconds of an ask after 40 trainings, by the number of configurations within no budget."""
    precisions = ["binary", "int4", "int8", "fp16"]
    each = {"layers": "downsample*", "tie": "each", "choices": precisions}
    attention = {"layers": "stage[23].*.attention", "tie": "stage", "choices": precisions}
    mixers = {"layers": "stage[01].*.mixer", "tie": "all", "choices": precisions}
    mlps = {"layers": "stage*.mlp", "tie": "stage", "choices": precisions[:3]}
    print("\nask of ours after 40 trainings, all configurations within the budget")
    seconds = {}
    for groups in ([each], [each, attention, mixers], [each, attention, mixers, mlps]):
        space = parse_space({**_WIDE, "precision": {"default": "binary", "groups": groups}}, "landscape")
        feasible = feasible_set(space)
        draw = np.random.default_rng(0)
        results = [
            TrialResult(n, tuple(feasible.codes[row].tolist()), Outcome.COMPLETE, float(draw.uniform()), (), *costs)
            for n, row in enumerate(draw.permutation(len(feasible))[:40])
            for costs in [(feasible.memory_bytes[row], feasible.ops[row])]
        ]
        proposer = Proposer(space, feasible, 0)
        proposer.propose(40, results, [])
        start = time.perf_counter()
        proposer.propose(40, results, [])
        seconds[str(len(feasible))] = time.perf_counter() - start
        print(f"{len(feasible):>12,} configurations {seconds[str(len(feasible))]:8.3f} s", flush=True)
    return seconds


_WIDE = {
    "model": {"preset": "tiny"},
    "widths": {"hidden": {"choices": [1, 1.5, 2, 2.5, 3]}, "intermediate": {"choices": [1, 2, 3, 4]}},
}


def main() -> None:
    """Run every strategy on every landscape and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--landscapes", nargs="+", choices=LANDSCAPES, default=list(LANDSCAPES))
    parser.add_argument("--only", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--skip-gp", action="store_true", help="leave out Optuna's GP, which takes most of the time")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    chosen = {n: s for n, s in STRATEGIES.items() if n in args.only and not (args.skip_gp and n.startswith("GP"))}
    report: dict[str, object] = {name: compare(name, chosen, args.seeds, regrets) for name in args.landscapes}
    volumes = {
        name: compare(name, VOLUME_STRATEGIES, args.seeds, missing_volumes)
        for name in VOLUMES
        if name in args.landscapes
    }
    figures = {"regret": report, "volume": volumes, "ask_s": ask_times()}
    print(json.dumps({"benchmark": "search_quality", "seeds": args.seeds, **figures}))


if __name__ == "__main__":
    main()
