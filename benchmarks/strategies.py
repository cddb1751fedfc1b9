"""Ways to search a landscape: ours, Optuna's samplers, and chance. Each gives the trainings in order."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import optuna
from landscapes import Landscape
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.trial import TrialState

from searcher.evidence import Digits, TrialResult
from searcher.proposer import SLOPES, Proposer
from searcher.records import Outcome

POPULATION = 10  # of NSGA-II: with Optuna's 50, all trainings would be drawn at random
ASKS = 20  # a training: then a strategy that is refused too often gives up


@dataclass(frozen=True)
class Search:
    """The configurations trained (by index, over-budget ones included) in order, and the time a proposal took."""

    trained: tuple[int, ...]
    ask_seconds: float


Strategy = Callable[[Landscape, int, int], Search]


def ours(lookahead: int = 1) -> Strategy:
    """`searcher.proposer`; with `lookahead` L, the last L - 1 trainings are pending when the next one is proposed."""

    def search(landscape: Landscape, trainings: int, seed: int) -> Search:
        feasible, proposer = landscape.feasible, Proposer(landscape.space, landscape.feasible, seed)
        rows: list[int] = []
        results: list[TrialResult] = []
        start = time.perf_counter()
        for number in range(trainings):
            known = max(0, number - lookahead + 1)
            digits = proposer.propose(number, results[:known], [r.digits for r in results[known:]])
            if digits is None:
                break
            row = feasible.row_of(digits)
            assert row is not None
            rows.append(row)
            results.append(_result(landscape, number, row, digits, seed))
        seconds = time.perf_counter() - start
        return Search(tuple(landscape.rows[rows].tolist()), seconds / trainings)

    return search


def _result(landscape: Landscape, number: int, row: int, digits: Digits, seed: int) -> TrialResult:
    accuracy = landscape.measured(int(landscape.rows[row]), seed)
    costs = landscape.feasible.memory_bytes[row], landscape.feasible.ops[row]
    return TrialResult(number, digits, Outcome.COMPLETE, accuracy, (accuracy,), *costs)


def chance(landscape: Landscape, trainings: int, seed: int) -> Search:
    """Feasible configurations in random order, none twice."""
    return Search(tuple(np.random.default_rng([seed, 1]).permutation(landscape.rows)[:trainings].tolist()), 0.0)


def stock(sampler: Callable[[int], BaseSampler], constrained: bool = False, trains: str = "all") -> Strategy:
    """An Optuna sampler; `constrained` tells it by how much a configuration exceeds the budget.

    What is over the budget it `trains` (all), or it is pruned untrained (within), or (free) Optuna is told its accuracy
    although nothing was trained: more than any real search could know, a bound on what the sampler can do.
    """

    def search(landscape: Landscape, trainings: int, seed: int) -> Search:
        space, objectives = landscape.space, landscape.space.search.objectives
        names = {v.name: CategoricalDistribution(v.choices) for v in space.variables}
        directions = ["maximize" if name == "accuracy" else "minimize" for name in objectives]
        study = optuna.create_study(directions=directions, sampler=sampler(seed))
        trained: list[int] = []
        asking, asked = 0.0, 0
        while len(trained) < trainings and asked < ASKS * trainings:
            start = time.perf_counter()
            trial = study.ask(names)
            asking, asked = asking + time.perf_counter() - start, asked + 1
            index = space.encode(trial.params)
            over = landscape.excess(index)
            if constrained:
                trial.set_constraint("budget", over)
            if over > 0 and trains == "within":
                study.tell(trial, state=TrialState.PRUNED)
                continue
            if over <= 0 or trains == "all":
                trained.append(index)
            study.tell(trial, _objectives(landscape, index, seed))
        return Search(tuple(trained), asking / asked)

    return search


def _objectives(landscape: Landscape, index: int, seed: int) -> list[float]:
    """What is told: accuracy, and the logarithms of costs, which is what hypervolumes are measured in."""
    logs = dict(zip(SLOPES, landscape.log_costs[index], strict=True))
    return [landscape.measured(index, seed), *(float(logs[name]) for name in landscape.space.search.objectives[1:])]


def gaussian_process_at_hand() -> bool:
    """Whether Optuna's GPSampler can run: it needs scipy, which nothing else here does."""
    return importlib.util.find_spec("scipy") is not None


def _nsga2(seed: int) -> BaseSampler:
    return NSGAIISampler(seed=seed, population_size=POPULATION)


def _tpe(seed: int) -> BaseSampler:
    return TPESampler(seed=seed)


def _gp(seed: int) -> BaseSampler:
    return GPSampler(seed=seed)


OURS = "ours"
STRATEGIES: dict[str, Strategy] = {
    OURS: ours(),
    "ours, 4 workers (lookahead 8)": ours(lookahead=8),
    "random among feasible": chance,
    "TPE, over-budget pruned": stock(_tpe, trains="within"),
    "TPE, set_constraint": stock(_tpe, constrained=True),
    "TPE, over-budget free": stock(_tpe, constrained=True, trains="free"),
    "NSGA-II, set_constraint": stock(_nsga2, constrained=True),
    "NSGA-II, over-budget free": stock(_nsga2, constrained=True, trains="free"),
    "GP, set_constraint": stock(_gp, constrained=True),
    "GP, over-budget free": stock(_gp, constrained=True, trains="free"),
}
FRONT_STRATEGIES: dict[str, Strategy] = {
    OURS: ours(),
    "ours, 4 workers (lookahead 8)": ours(lookahead=8),
    "random": chance,
    "TPE": stock(_tpe, trains="within"),
    "NSGA-II": stock(_nsga2, trains="within"),
    "GP": stock(_gp, trains="within"),
}
