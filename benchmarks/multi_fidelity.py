"""How many epochs of phase 2 the stopping rules save, at equal quality of what is found.

    python benchmarks/multi_fidelity.py [--seeds 50] [--trials 40] [--whole] [--proposals random sampler] ...
    python benchmarks/multi_fidelity.py --with runs/real-with --without runs/real-without

The first form searches the tabular landscape (`tabular/`: every learning curve is a real training), each of its seeds
a landscape, within the budget of its space. A search without a rule trains `--trials` candidates; one with a rule goes
on until it has spent as many epochs. Regret is the best accuracy within the budget minus the best found, in points; it
rewards luck, so the network found is also judged by its trainings with the landscapes' other seeds ("retrained").
Reported are: by which factor fewer epochs reach the same mean regret, and the same mean retrained accuracy (95 %
interval: bootstrap over searches), and how both differ after half of the epochs from those without a rule after all of
them (paired, 95 %). The second form compares two real studies of `multi_fidelity.yaml`. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabular.table import Row, Table, load_table

from searcher.budget import BudgetSection
from searcher.evidence import Digits, TrialResult
from searcher.feasible import FeasibleSet, feasible_set
from searcher.proposer import Proposer
from searcher.pruning import Pruning, pruning_from
from searcher.records import Outcome, TrialRecord, read_records
from searcher.space import Space
from searcher.trial_table import SEARCH_PHASE

Floats = NDArray[np.float64]
Propose = Callable[[int, Sequence[TrialResult]], Digits | None]
RULES: dict[str, dict[str, object]] = {
    "none": {},
    "rank": {},
    "rank, unguarded": {"name": "rank", "startup_trials": 1, "concordance": 0},
    "median": {},
    "successive_halving": {},
    "hyperband": {"max_epochs": 8},
}
RESAMPLES = 1000
PARENT_EPOCHS = 10  # of phase 1, once for every pair of widths


@dataclass(frozen=True)
class Landscape:
    """One seed's trainings of all configurations within the budget, and their mean accuracy with the other seeds.

    `best` is the highest accuracy among the first.
    """

    space: Space
    feasible: FeasibleSet
    rows: dict[Digits, Row]
    retrained: dict[Digits, float]
    best: float

    @classmethod
    def all_of(cls, table: Table, space: Space) -> list[Landscape]:
        """One a seed of the table that has all configurations within the space's budget; two seeds at least."""
        feasible = feasible_set(space)
        within = [tuple(map(int, code)) for code in feasible.codes]
        seeds = [rows for _, rows in sorted(table.by_seed.items()) if all(digits in rows for digits in within)]
        landscapes = []
        for seed in seeds:
            rows = {digits: seed[digits] for digits in within}
            retrained = {
                digits: float(np.mean([other[digits].accuracy for other in seeds if other is not seed]))
                for digits in within
            }
            landscapes.append(cls(space, feasible, rows, retrained, max(row.accuracy for row in rows.values())))
        return landscapes

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
    """What a search had found after each trial: epochs of phase 2 and of parents so far, points lost.

    `regret` is lost against the best of the landscape, `retrained` against 100 % when the best found is trained anew.
    """

    epochs: Floats
    parent_epochs: Floats
    regret: Floats
    retrained: Floats

    def after(self, epochs: Floats, loss: str) -> Floats:
        """What is lost by what had been found within `epochs`; 100 before the first trial's end."""
        last = np.searchsorted(self.epochs, epochs, side="right") - 1
        return np.where(last < 0, 100.0, getattr(self, loss)[last])


def search(landscape: Landscape, propose: Propose, rule: Pruning, epochs: int) -> Search:
    """Train candidates until `epochs` of phase 2 are spent or nothing is left."""
    finished: list[TrialResult] = []
    spent, best, retrained, parents = 0, 0.0, 0.0, set()
    points = []
    while spent < epochs and (digits := propose(len(finished), finished)) is not None:
        row = landscape.rows[digits]
        curve = trained(rule, len(finished), row.curve, finished)
        outcome = Outcome.COMPLETE if len(curve) == len(row.curve) else Outcome.STOPPED
        finished.append(TrialResult(len(finished), digits, outcome, max(curve), curve, row.memory_bytes, row.ops))
        spent += len(curve)
        if max(curve) > best:
            best, retrained = max(curve), landscape.retrained[digits]
        parents.add(tuple(d for d, variable in zip(digits, landscape.space.variables, strict=True) if variable.stages))
        points.append((spent, PARENT_EPOCHS * len(parents), 100 * (landscape.best - best), 100 * (1 - retrained)))
    return Search(*np.array(points).T)


def trained(rule: Pruning, number: int, curve: tuple[float, ...], finished: Sequence[TrialResult]) -> tuple[float, ...]:
    """The part of a trial's curve that is trained under a rule."""
    for epoch in range(1, len(curve)):
        if rule.stops(number, curve[:epoch], len(curve), finished):
            return curve[:epoch]
    return curve


@dataclass(frozen=True)
class Saving:
    """`factor` times fewer epochs reach the same mean loss (0: they never do), with its 95 % interval.

    `half` is the mean difference after half the epochs to the search without a rule after all, `half_95` half of its
    95 % interval.
    """

    factor: float
    low: float
    high: float
    half: float
    half_95: float

    @classmethod
    def of(cls, without: Floats, with_rule: Floats) -> Saving:
        """From losses: rows are searches, columns 1, 2, ... epochs; `without` is to be reached in its last column."""
        searches, epochs = without.shape
        draw = np.random.default_rng(0)

        def factor(rows: NDArray[np.intp]) -> float:
            reached = with_rule[rows].mean(axis=0) <= without[rows, -1].mean() + 1e-9
            return epochs / (1 + int(reached.argmax())) if reached.any() else 0.0

        drawn = [factor(draw.integers(searches, size=searches)) for _ in range(RESAMPLES)]
        difference = with_rule[:, epochs // 2 - 1] - without[:, -1]
        half_95 = 1.96 * difference.std(ddof=1) / np.sqrt(searches)
        low, high = np.quantile(drawn, (0.025, 0.975))
        return cls(factor(np.arange(searches)), float(low), float(high), float(difference.mean()), float(half_95))


def compare(
    landscapes: Sequence[Landscape], proposals: str, rules: Sequence[str], seeds: int, trials: int
) -> list[dict]:
    """One row a rule, `none` first: pooled over landscapes and seeds."""
    length = len(next(iter(landscapes[0].rows.values())).curve)
    epochs = length * trials
    grid = np.arange(1, epochs + 1, dtype=np.float64)
    losses: dict[str, Floats] = {}
    table = []
    for name in ("none", *rules):
        rule = pruning_from({"name": name, **RULES[name]}, name)
        runs = [
            search(place, place.by_sampler(seed) if proposals == "sampler" else place.at_random(seed), rule, epochs)
            for place in landscapes
            for seed in range(seeds)
        ]
        row = {"proposals": proposals, "rule": name, "searches": len(runs), "epochs": epochs}
        row["parent_epochs"] = float(np.mean([run.parent_epochs[-1] for run in runs]))
        row["trials"] = float(np.mean([len(run.epochs) for run in runs]))
        for loss in ("regret", "retrained"):
            after = np.array([run.after(grid, loss) for run in runs])
            without = losses.setdefault(loss, after)  # the first rule is none
            row[loss] = {"mean": float(after[:, -1].mean()), **asdict(Saving.of(without, after))}
        table.append(row)
    return table


def unlimited(space: Space) -> Space:
    """The space without its budget."""
    return Space(space.name, replace(space.file, budget=BudgetSection()))


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


def print_comparison(table: Sequence[dict], landscapes: Sequence[Landscape]) -> None:
    none = table[0]
    print(
        f"\nproposals: {none['proposals']}; {none['searches']} searches on {len(landscapes)} landscapes of "
        f"{len(landscapes[0].rows)} configurations, {none['epochs']} epochs of phase 2 each\n"
        f"{'':18s}  trials  regret  fewer epochs (95 %)      at half   retrained  fewer epochs (95 %)      at half"
    )
    for row in table:
        regret, retrained = row["regret"], row["retrained"]
        print(
            f"{row['rule']:18s} {row['trials']:7.1f} {regret['mean']:7.2f} {_saving(regret)} "
            f"{100 - retrained['mean']:9.2f} {_saving(retrained)}",
            flush=True,
        )


def _saving(of: dict) -> str:
    return f"{of['factor']:5.2f}x ({of['low']:4.2f} to {of['high']:4.2f}) {of['half']:+5.2f} +- {of['half_95']:4.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--proposals", nargs="+", choices=("random", "sampler"), default=["random", "sampler"])
    parser.add_argument("--rules", nargs="+", choices=list(RULES)[1:], default=list(RULES)[1:])
    parser.add_argument("--whole", action="store_true", help="search all configurations, whatever they cost")
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
    landscapes = Landscape.all_of(table, unlimited(table.space) if options.whole else table.space)
    rows = []
    for proposals in options.proposals:
        new = compare(landscapes, proposals, options.rules, options.seeds, options.trials)
        print_comparison(new, landscapes)
        rows += new
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
