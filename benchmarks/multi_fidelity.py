"""How many epochs of phase 2 the stopping rules save, at equal quality of what is found.

    python benchmarks/multi_fidelity.py [--seeds 50] [--trials 40] [--proposals random sampler] [--rules rank median ...]
    python benchmarks/multi_fidelity.py --with runs/real-with --without runs/real-without

The first form searches the tabular landscape (`tabular/`: every learning curve is a real training), each of its seeds
a landscape, within the budget of its space. A search without a rule trains `--trials` candidates; one with a rule goes on
until it has spent as many epochs. Regret is the best accuracy within the budget minus the best found, in points.
Reported are: by which factor fewer epochs reach the same mean regret (95 % interval: bootstrap over searches), and how
the regret after half of the epochs differs from that without a rule after all of them (paired, 95 %). The second form
compares two real studies of `multi_fidelity.yaml`. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabular.table import Row, Table, load_table

from searcher.evidence import Digits, TrialResult
from searcher.feasible import FeasibleSet, feasible_set
from searcher.proposer import Proposer
from searcher.pruning import NoPruning, Pruning, pruning_from
from searcher.records import Outcome, TrialRecord, read_records
from searcher.space import Space
from searcher.trial_table import SEARCH_PHASE

Floats = NDArray[np.float64]
Propose = Callable[[int, Sequence[TrialResult]], Digits | None]
RULES = ("rank", "median", "successive_halving", "hyperband")
RESAMPLES = 1000
PARENT_EPOCHS = 10  # of phase 1, once for every pair of widths


@dataclass(frozen=True)
class Landscape:
    """One seed's trainings of all configurations within the budget; `best` is the highest accuracy among them."""

    space: Space
    feasible: FeasibleSet
    rows: dict[Digits, Row]
    best: float

    @classmethod
    def of(cls, table: Table, seed: int) -> Landscape:
        """The landscape of a seed of the table."""
        feasible = feasible_set(table.space)
        rows = {digits: table.by_seed[seed][digits] for digits in (tuple(map(int, code)) for code in feasible.codes)}
        return cls(table.space, feasible, rows, max(row.accuracy for row in rows.values()))

    def at_random(self, seed: int) -> Propose:
        """Configurations in random order, none twice."""
        order = [list(self.rows)[i] for i in np.random.default_rng([seed, 1]).permutation(len(self.rows))]
        return lambda number, finished: order[number] if number < len(order) else None

    def by_sampler(self, seed: int) -> Propose:
        """What the search's own sampler proposes."""
        proposer = Proposer(self.space, self.feasible, seed)
        return lambda number, finished: proposer.propose(number, finished, ())


@dataclass(frozen=True)
class Search:
    """What a search had found after each of its trials: epochs of phase 2 and of parents so far, regret in points."""

    epochs: Floats
    parent_epochs: Floats
    regret: Floats

    def after(self, epochs: Floats) -> Floats:
        """Regret of what had been found when no more than `epochs` were spent; infinite before the first trial's end."""
        last = np.searchsorted(self.epochs, epochs, side="right") - 1
        return np.where(last < 0, np.inf, self.regret[last])


def search(landscape: Landscape, propose: Propose, rule: Pruning, epochs: int) -> Search:
    """Train candidates until `epochs` of phase 2 are spent or nothing is left."""
    finished: list[TrialResult] = []
    spent, best, parents = 0, 0.0, set()
    points = []
    while spent < epochs and (digits := propose(len(finished), finished)) is not None:
        row = landscape.rows[digits]
        curve = trained(rule, len(finished), row.curve, finished)
        outcome = Outcome.COMPLETE if len(curve) == len(row.curve) else Outcome.STOPPED
        finished.append(TrialResult(len(finished), digits, outcome, max(curve), curve, row.memory_bytes, row.ops))
        spent, best = spent + len(curve), max(best, *curve)
        parents.add(digits[: len([v for v in landscape.space.variables if v.stages])])
        points.append((spent, PARENT_EPOCHS * len(parents), 100 * (landscape.best - best)))
    return Search(*np.array(points).T)


def trained(rule: Pruning, number: int, curve: tuple[float, ...], finished: Sequence[TrialResult]) -> tuple[float, ...]:
    """The part of a trial's curve that is trained under a rule."""
    for epoch in range(1, len(curve)):
        if rule.stops(number, curve[:epoch], len(curve), finished):
            return curve[:epoch]
    return curve


def saving(without: Floats, with_rule: Floats, draw: np.random.Generator) -> tuple[float, float, float]:
    """By which factor fewer epochs reach the same mean regret, with its 95 % interval; 0 where they never do.

    Rows are searches, columns the regret after 1, 2, ... epochs; `without` in its last column has the regret to reach.
    """

    def factor(rows: NDArray[np.intp]) -> float:
        reached = with_rule[rows].mean(axis=0) <= without[rows, -1].mean() + 1e-9
        return without.shape[1] / (1 + int(reached.argmax())) if reached.any() else 0.0

    searches = len(without)
    drawn = [factor(draw.integers(searches, size=searches)) for _ in range(RESAMPLES)]
    return factor(np.arange(searches)), *np.quantile(drawn, (0.025, 0.975))


def compare(
    landscapes: Sequence[Landscape], proposals: str, rules: Sequence[str], seeds: int, trials: int
) -> list[dict]:
    """One row a rule: pooled over landscapes and seeds."""
    length = len(next(iter(landscapes[0].rows.values())).curve)
    epochs = length * trials
    grid = np.arange(1, epochs + 1, dtype=np.float64)
    runs: dict[str, list[Search]] = {}
    for name in ("none", *rules):
        rule = NoPruning() if name == "none" else rule_named(name, length)
        runs[name] = [
            search(place, place.by_sampler(seed) if proposals == "sampler" else place.at_random(seed), rule, epochs)
            for place in landscapes
            for seed in range(seeds)
        ]
    regrets = {name: np.array([run.after(grid) for run in searches]) for name, searches in runs.items()}
    without = regrets["none"]
    table = []
    for name in rules:
        factor, low, high = saving(without, regrets[name], np.random.default_rng(0))
        difference = regrets[name][:, epochs // 2 - 1] - without[:, -1]
        table.append(
            {
                "proposals": proposals,
                "rule": name,
                "searches": len(without),
                "epochs_without": epochs,
                "parent_epochs_without": float(np.mean([run.parent_epochs[-1] for run in runs["none"]])),
                "regret_without": float(without[:, -1].mean()),
                "regret_with": float(regrets[name][:, -1].mean()),
                "saving": factor,
                "saving_95": [low, high],
                "half_epochs_difference": float(difference.mean()),
                "half_epochs_difference_95": float(1.96 * difference.std(ddof=1) / np.sqrt(len(difference))),
                "epochs_a_trial": float(np.mean([run.epochs[-1] / len(run.epochs) for run in runs[name]])),
            }
        )
    return table


def rule_named(name: str, epochs: int) -> Pruning:
    """A rule with its default options."""
    return pruning_from({"name": name, "max_epochs": epochs} if name == "hyperband" else name, "rule")


def compare_studies(with_rule: Path, without: Path) -> dict:
    """Two real studies of the same candidates in the same order, one with a rule."""
    ours, theirs = (finished_trials(folder) for folder in (with_rule, without))
    total = sum(map(len, theirs))
    best = max(map(max, theirs))
    reached = np.flatnonzero(np.maximum.accumulate([max(curve) for curve in ours]) >= best)
    spent = np.cumsum([len(curve) for curve in ours])
    first = np.cumsum([len(c) for c in theirs])[int(np.argmax([max(c) for c in theirs]))]
    same = spent[min(len(theirs), len(ours)) - 1]
    return {
        "trials_without": len(theirs),
        "epochs_without": total,
        "best_without": best,
        "epochs_without_to_best": int(first),
        "epochs_with_same_trials": int(same),
        "best_with_same_trials": max(max(curve) for curve in ours[: len(theirs)]),
        "epochs_with_to_best": int(spent[reached[0]]) if len(reached) else None,
        "trials_with": len(ours),
        "epochs_with": int(spent[-1]),
        "best_with": max(map(max, ours)),
    }


def finished_trials(folder: Path) -> list[tuple[float, ...]]:
    """Curves of phase 2 of the trained trials of a study, by number."""

    def curve(record: TrialRecord) -> tuple[float, ...]:
        epochs = () if record.metrics is None else record.metrics.epochs
        return tuple(epoch.accuracy for epoch in epochs if epoch.phase == SEARCH_PHASE)

    return [curve(record) for record in read_records(folder) if record.outcome.trained]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--proposals", nargs="+", choices=("random", "sampler"), default=["random", "sampler"])
    parser.add_argument("--rules", nargs="+", default=list(RULES))
    parser.add_argument("--with", dest="with_rule", type=Path)
    parser.add_argument("--without", type=Path)
    options = parser.parse_args()
    if options.with_rule:
        result = compare_studies(options.with_rule, options.without)
        for name, value in result.items():
            print(f"{name.replace('_', ' '):28s} {value}")
        print(json.dumps(result))
        return
    table = load_table()
    landscapes = [Landscape.of(table, seed) for seed in table.complete_seeds]
    rows = []
    for proposals in options.proposals:
        rows += compare(landscapes, proposals, options.rules, options.seeds, options.trials)
        first = rows[-1]
        print(
            f"\nproposals: {proposals}; without a rule {options.trials} trials, {first['epochs_without']} epochs "
            f"(and {first['parent_epochs_without']:.0f} of parents) to a mean regret of {first['regret_without']:.2f}; "
            f"{first['searches']} searches on {len(landscapes)} landscapes of {len(landscapes[0].rows)}"
        )
        print("rule                 fewer epochs to it (95 %)    regret at half the epochs    at all   epochs a trial")
        for row in rows[-len(options.rules) :]:
            low, high = row["saving_95"]
            print(
                f"{row['rule']:19s} {row['saving']:8.2f}x ({low:4.2f} to {high:4.2f}) "
                f"{row['half_epochs_difference']:+13.2f} +- {row['half_epochs_difference_95']:4.2f} "
                f"{row['regret_with']:15.2f} {row['epochs_a_trial']:16.1f}",
                flush=True,
            )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
