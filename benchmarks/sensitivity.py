"""Whether what quantizing costs before training predicts what it costs after, and whether that helps a search.

    python benchmarks/sensitivity.py [--seeds 60]
    python benchmarks/sensitivity.py --measure      # makes tabular/sensitivity.json again, parents included: 20 minutes

On the tabular landscape (every configuration really trained). First, the effect of every precision that a variable can
take instead of its first choice: as `searcher sensitivity` foresees it from a parent, and as the trained networks have
it. Then regret (points missed after 1, 3, 5, 10, 20 trainings) of searches whose first trials, at random widths, are

    as the sampler draws them    (it models from its second trial on)
    1 or 4 by sensitivity        the best of these widths by the parent's sensitivity (`searcher.sensitivity`)
    1 or 4 by OPs                the dearest of these widths: an order that needs no measurement

under the landscape's budget and under two tighter ones. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from landscapes import Floats, Landscape, trained
from search_quality import Search, regrets
from search_quality import _result as result_of
from tabular.table import SPACE, TABLE, load_table

from searcher.evidence import Digits, TrialResult
from searcher.files import read_json, write_json
from searcher.proposer import Proposer
from searcher.schema import from_mapping
from searcher.sensitivity import Sensitivity, expected_of, most_promising, parts_of, prior_of
from searcher.space import Space, load_space, parse_space
from searcher.variables import Kind

MEASURED = TABLE.with_name("sensitivity.json")
WARM_STARTS = Path("runs") / "tabular" / "_warm_starts"
BATCHES, SEEDS, POINTS, TRIALS = 4, (0, 1), (1, 3, 5, 10, 20), 20
BUDGETS = {"the landscape's": {}, "30 kB, 0.6 MOPs": {"memory": 30e3, "ops": 6e5}, "20 kB": {"memory": 20e3}}
WAYS = {
    "the sampler's": (0, False),
    "1 by sensitivity": (1, True),
    "1 by OPs": (1, False),
    "4 by sensitivity": (4, True),
    "4 by OPs": (4, False),
}
Prior = list[Floats]


def measure() -> None:
    """Measure every parent of the table's space, trained where it is absent, and write the tied layers' changes."""
    import torch

    from searcher.candidate_training import CandidateTraining
    from searcher.pipeline import trained_parent
    from searcher.sensitivity_measurement import measured

    torch.set_num_threads(1)
    space = load_space(SPACE)
    recipe, data = space.training
    widths = [v for v in space.variables if v.kind is not Kind.PRECISION]
    tied = {v.addresses for v in space.variables if v.kind is Kind.PRECISION}
    parts = [part for part in parts_of(space) if part[0] in tied]
    found = []
    for seed, *factors in itertools.product(SEEDS, *(v.choices for v in widths)):
        choices = space.complete({v.name: factor for v, factor in zip(widths, factors, strict=True)})
        training = CandidateTraining(space.candidate(choices), recipe, data, seed, torch.device("cpu"))
        parent = trained_parent(
            training, WARM_STARTS, device="cpu", threads=1, processes=1, report=lambda record: False
        )
        sensitivity = measured(training, parent, parts, BATCHES)
        kept = tuple(change for change in sensitivity.changes if change.part in parts)
        found.append([seed, factors, dataclasses.asdict(dataclasses.replace(sensitivity, changes=kept))])
        print(f"seed {seed}, widths {factors}: Top-1 {100 * sensitivity.accuracy:.1f} %", flush=True)
        write_json(MEASURED, found)


def priors(space: Space) -> dict[tuple[int, tuple[float, ...]], Prior]:
    """(seed, width factors) -> what that parent's sensitivity foresees."""
    return {
        (seed, tuple(factors)): prior_of(space, from_mapping(Sensitivity, data, "sensitivity"))
        for seed, factors, data in read_json(MEASURED)
    }


def effects(space: Space, foreseen: dict[tuple[int, tuple[float, ...]], Prior]) -> list[dict]:
    """For every precision variable and choice but the first: points foreseen (mean over parents) and really gained."""
    table = load_table()
    rows = []
    for column, variable in enumerate(space.variables):
        for digit in range(1, len(variable.choices)) if variable.kind is Kind.PRECISION else ():
            gains = [
                100 * (of_seed[digits].accuracy - of_seed[(*digits[:column], 0, *digits[column + 1 :])].accuracy)
                for of_seed in (table.by_seed[seed] for seed in table.complete_seeds)
                for digits in of_seed
                if digits[column] == digit
            ]
            rows.append(
                {
                    "variable": variable.name,
                    "choice": variable.choices[digit],
                    "foreseen": float(np.mean([100 * (p[column][digit] - p[column][0]) for p in foreseen.values()])),
                    "gained": float(np.mean(gains)),
                    "ci": float(1.96 * np.std(gains, ddof=1) / len(gains) ** 0.5),
                }
            )
    return rows


def within_widths(landscape: Landscape, score: Floats) -> float:
    """Mean over widths of the rank correlation of `score` with the truth among configurations of these widths."""
    space = landscape.space
    widths = [i for i, v in enumerate(space.variables) if v.kind is not Kind.PRECISION]
    groups: dict[Digits, list[int]] = {}
    for index in range(space.size):
        digits = space.digits_of(space.decode(index))
        groups.setdefault(tuple(digits[i] for i in widths), []).append(index)
    return float(np.mean([rank_correlation(score[rows], landscape.truth[rows]) for rows in groups.values()]))


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's; equal values share their mean rank."""
    ranks = [(x[:, None] > x).sum(axis=1) + (x[:, None] == x).sum(axis=1) / 2 for x in (np.asarray(a), np.asarray(b))]
    return float(np.corrcoef(*ranks)[0, 1])


class Started:
    """The sampler, whose first `count` trials are at random widths the best by `order`, or the dearest without one."""

    def __init__(self, landscape: Landscape, seed: int, count: int, order: Prior | None) -> None:
        self._space, self._feasible, self._seed = landscape.space, landscape.feasible, seed
        self._count, self._order = count, order
        self._sampler = Proposer(landscape.space, landscape.feasible, seed)

    def propose(self, number: int, finished: list[TrialResult]) -> Digits | None:
        """The configuration of the next trial."""
        if number >= self._count:
            return self._sampler.propose(number, finished, [])
        tried = [self._feasible.row_of(r.digits) for r in finished]
        left = np.delete(np.arange(len(self._feasible)), [row for row in tried if row is not None])
        left = dataclasses.replace(
            self._feasible,
            **{name: getattr(self._feasible, name)[left] for name in ("codes", "memory_bytes", "ops")},
        )
        widths = left.codes[np.random.default_rng([self._seed, number]).integers(len(left))]
        if self._order is None:
            same = [i for i, v in enumerate(self._space.variables) if v.kind is not Kind.PRECISION]
            ops = np.where((left.codes[:, same] == widths[same]).all(axis=1), left.ops, 0)
            return tuple(left.codes[ops.argmax()].tolist())
        best = most_promising(self._space, left, self._order, self._space.choices_of(widths.tolist()))
        return None if best is None else self._space.digits_of(best)


def searched(landscape: Landscape, propose: Callable[[int, list[TrialResult]], Digits | None]) -> list[float]:
    """Regret after each training of one search."""
    results: list[TrialResult] = []
    for number in range(min(TRIALS, len(landscape.feasible))):
        digits = propose(number, results)
        assert digits is not None
        results.append(result_of(landscape, number, digits))
    return regrets(landscape, Search([landscape.index(r.digits) for r in results], 0.0))


def under(landscape: Landscape, limits: dict[str, float]) -> Landscape:
    """The landscape with some other limits."""
    plain = landscape.space.to_plain()
    plain["budget"] |= limits
    return Landscape(parse_space(plain, "landscape"), landscape.truth, landscape.measured)


def compare(name: str, seeds: int, foreseen: dict[tuple[int, tuple[float, ...]], Prior]) -> dict:
    """Regret of the ways to begin under a budget; prints a table."""
    landscapes = [under(trained(seed), BUDGETS[name]) for seed in range(seeds)]
    trainings = load_table().complete_seeds
    print(f"\nbudget: {name}; {len(landscapes[0].feasible)} configurations within, {seeds} seeds; regret in points")
    print(f"{'first trials':18}" + "".join(f"{f'after {n}':>16}" for n in POINTS))

    def curve(landscape: Landscape, seed: int, count: int, by_sensitivity: bool) -> list[float]:
        seed_of_table = trainings[seed % len(trainings)]  # as `trained` chooses it
        prior = foreseen[seed_of_table, (1, 1)] if by_sensitivity else None  # the parent of width 1
        return searched(landscape, Started(landscape, seed, count, prior).propose)

    report = {}
    for way, (count, by_sensitivity) in WAYS.items():
        curves = [curve(landscape, seed, count, by_sensitivity) for seed, landscape in enumerate(landscapes)]
        after = np.array([[c[min(n, len(c)) - 1] for n in POINTS] for c in curves])
        mean, half = after.mean(axis=0), 1.96 * after.std(axis=0, ddof=1) / seeds**0.5
        print(f"{way:18}" + "".join(f"{f'{m:.2f} ± {h:.2f}':>16}" for m, h in zip(mean, half, strict=True)), flush=True)
        report[way] = {str(n): [m, h] for n, m, h in zip(POINTS, mean.tolist(), half.tolist(), strict=True)}
    return report


def main() -> None:
    """Print effects and regrets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--measure", action="store_true", help="measure the parents again first")
    args = parser.parse_args()
    if args.measure:
        measure()
    space = load_space(SPACE)
    foreseen = priors(space)
    rows = effects(space, foreseen)
    print(f"{'variable':32}{'choice':8}{'foreseen':>10}{'gained':>16}")
    for row in rows:
        gained = f"{row['gained']:+.2f} ± {row['ci']:.2f}"
        print(f"{row['variable']:32}{row['choice']:8}{row['foreseen']:>+10.2f}{gained:>16}")
    of_effects = rank_correlation(*(np.array([row[key] for row in rows]) for key in ("foreseen", "gained")))
    landscape = trained(0)
    codes = np.array([space.digits_of(space.decode(i)) for i in range(space.size)])
    ops = np.array([space.candidate(space.decode(i)).cost().total.ops for i in range(space.size)])
    of_configurations = {
        "sensitivity": float(np.mean([within_widths(landscape, expected_of(p, codes)) for p in foreseen.values()])),
        "OPs": within_widths(landscape, ops),
        "memory": within_widths(landscape, landscape.memory_bytes),
    }
    print(f"\nrank correlation of foreseen and gained: {of_effects:.2f}")
    print("rank correlation with accuracy among configurations of equal widths:", end=" ")
    print(", ".join(f"{name} {value:.2f}" for name, value in of_configurations.items()))
    report = {name: compare(name, args.seeds, foreseen) for name in BUDGETS}
    correlations = {"effects": of_effects, "configurations": of_configurations}
    figures = {"effects": rows, "rank_correlation": correlations, "regret": report}
    print(json.dumps({"benchmark": "sensitivity", "seeds": args.seeds, **figures}))


if __name__ == "__main__":
    main()
