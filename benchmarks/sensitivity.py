"""Whether what quantizing costs before training predicts what it costs after, and whether that helps a search.

    python benchmarks/sensitivity.py [--seeds 60]
    python benchmarks/sensitivity.py --measure      # makes tabular/sensitivity.json again, parents included: 20 minutes

On the tabular landscape (every configuration really trained). First, the effect of every precision that a variable can
take instead of its first choice: as `searcher sensitivity` foresees it from a parent, and as the trained networks have
it. Then regret (points missed after 1, 3, 5, 10, 20 trainings), under three budgets, of searches that use it as

    nothing              the sampler as it is
    a prior              what the sampler expects of every configuration (`Proposer(prior=...)`), times 1 or times 0.2,
                         the share that is left after training on this very table
    1 or 4 first trials  at random widths the best by the sensitivity of the parent of width 1
    1 or 4 by OPs        at random widths the dearest: an order that needs no measurement

Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabular.table import SPACE, TABLE, Table, load_table

from searcher.evidence import Digits, TrialResult
from searcher.feasible import FeasibleSet, feasible_set
from searcher.files import read_json, write_json
from searcher.proposer import Proposer
from searcher.records import Outcome
from searcher.schema import from_mapping
from searcher.sensitivity import Sensitivity, expected_of, most_promising, parts_of, prior_of
from searcher.space import Space, load_space, parse_space
from searcher.statistics import rank_correlation
from searcher.variables import Kind

MEASURED = TABLE.with_name("sensitivity.json")
WARM_STARTS = Path("runs") / "tabular" / "_warm_starts"
BATCHES, SEEDS, POINTS, TRIALS = 4, (0, 1), (1, 3, 5, 10, 20), 20
BUDGETS = {"40 KiB, 1.2 MOPs": {}, "30 kB, 0.6 MOPs": {"memory": 30e3, "ops": 6e5}, "20 kB": {"memory": 20e3}}
Floats = NDArray[np.float64]
Prior = list[Floats]
Foreseen = dict[tuple[int, tuple[float, ...]], Prior]
"""(Seed, width factors) of a parent -> what its sensitivity foresees."""


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


def priors(space: Space) -> Foreseen:
    """What was measured, as priors."""
    return {
        (seed, tuple(factors)): prior_of(space, from_mapping(Sensitivity, data, "sensitivity"))
        for seed, factors, data in read_json(MEASURED)
    }


def effects(table: Table, foreseen: Foreseen) -> list[dict]:
    """For every precision variable and choice but the first: points foreseen (mean over parents) and really gained."""
    rows = []
    for column, variable in enumerate(table.space.variables):
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


def within_widths(table: Table, score: Floats) -> float:
    """Mean over widths of the rank correlation of `score` with the truth among configurations of these widths."""
    widths = [i for i, v in enumerate(table.space.variables) if v.kind is not Kind.PRECISION]
    groups: dict[Digits, list[tuple[float, float]]] = {}
    for value, (digits, accuracy) in zip(score, table.truth.items(), strict=True):
        groups.setdefault(tuple(digits[i] for i in widths), []).append((value, accuracy))
    return float(np.mean([rank_correlation(*np.array(pairs).T) for pairs in groups.values()]))


@dataclass(frozen=True)
class Way:
    """How a search uses the sensitivity: as a prior, times `prior`; `first` trials `by_ops` or by sensitivity."""

    prior: float = 0.0
    first: int = 0
    by_ops: bool = False


WAYS = {
    "nothing": Way(),
    "a prior": Way(prior=1.0),
    "a prior, times 0.2": Way(prior=0.2),
    "1 first trial": Way(first=1),
    "4 first trials": Way(first=4),
    "1 by OPs": Way(first=1, by_ops=True),
    "4 by OPs": Way(first=4, by_ops=True),
}


def regrets(table: Table, space: Space, feasible: FeasibleSet, seed: int, way: Way, foreseen: Foreseen) -> list[float]:
    """Points missed after each training of one search, which sees one of the table's seeds."""
    training = table.complete_seeds[seed % len(table.complete_seeds)]
    prior = foreseen[training, (1, 1)]
    sampler = Proposer(space, feasible, seed, prior=[way.prior * p for p in prior] if way.prior else None)
    results: list[TrialResult] = []
    for number in range(TRIALS):
        if number < way.first:
            digits = first_of(space, feasible, results, seed, None if way.by_ops else prior)
        else:
            proposed = sampler.propose(number, results, [])
            assert proposed is not None
            digits = proposed
        row = table.by_seed[training][digits]
        results.append(
            TrialResult(number, digits, Outcome.COMPLETE, row.accuracy, (row.accuracy,), row.memory_bytes, row.ops)
        )
    best = max(table.truth[tuple(digits)] for digits in feasible.codes.tolist())
    return [100 * (best - a) for a in np.maximum.accumulate([table.truth[r.digits] for r in results])]


def first_of(space: Space, feasible: FeasibleSet, tried: list[TrialResult], seed: int, prior: Prior | None) -> Digits:
    """Untried, at random widths, the best by `prior`, or the dearest without one."""
    known = {r.digits for r in tried}
    left = [row for row, digits in enumerate(feasible.codes.tolist()) if tuple(digits) not in known]
    rest = FeasibleSet(feasible.codes[left], feasible.memory_bytes[left], feasible.ops[left], space.size, space.size)
    at = rest.codes[np.random.default_rng([seed, len(tried)]).integers(len(rest))]
    if prior is None:
        widths = [i for i, v in enumerate(space.variables) if v.kind is not Kind.PRECISION]
        same = (rest.codes[:, widths] == at[widths]).all(axis=1)
        return tuple(rest.codes[np.where(same, rest.ops, 0).argmax()].tolist())
    choices = most_promising(space, rest, prior, space.choices_of(at.tolist()))
    assert choices is not None
    return space.digits_of(choices)


def compare(table: Table, name: str, seeds: int, foreseen: Foreseen) -> dict:
    """Regret of the ways to use it under a budget, a star where the paired difference to nothing excludes zero."""
    plain = table.space.to_plain()
    plain["budget"] |= BUDGETS[name]
    space = parse_space(plain, "tabular")
    feasible = feasible_set(space)
    print(f"\nbudget {name}: {len(feasible)} configurations within, {seeds} seeds; regret in points")
    print(f"{'sensitivity as':20}" + "".join(f"{f'after {n}':>16}" for n in POINTS))
    report, base = {}, None
    for label, way in WAYS.items():
        curves = [regrets(table, space, feasible, seed, way, foreseen) for seed in range(seeds)]
        after = np.array([[curve[n - 1] for n in POINTS] for curve in curves])
        base = after if base is None else base
        half, half_difference = (1.96 * x.std(axis=0, ddof=1) / seeds**0.5 for x in (after, after - base))
        stars = ["*" if abs(d) > h else " " for d, h in zip((after - base).mean(axis=0), half_difference, strict=True)]
        mean = after.mean(axis=0)
        cells = [f"{f'{m:.2f} ± {h:.2f}{star}':>16}" for m, h, star in zip(mean, half, stars, strict=True)]
        print(f"{label:20}{''.join(cells)}", flush=True)
        report[label] = {str(n): [m, h] for n, m, h in zip(POINTS, mean.tolist(), half.tolist(), strict=True)}
    return report


def main() -> None:
    """Print effects and regrets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--measure", action="store_true", help="measure the parents again first")
    args = parser.parse_args()
    if args.measure:
        measure()
    table = load_table()
    if not table.complete_seeds:
        raise SystemExit(f"{TABLE} must hold every configuration of a seed, but it does not; run make_table.py.")
    foreseen = priors(table.space)
    rows = effects(table, foreseen)
    print(f"{'variable':32}{'choice':8}{'foreseen':>10}{'gained':>16}")
    for row in rows:
        gained = f"{row['gained']:+.2f} ± {row['ci']:.2f}"
        print(f"{row['variable']:32}{row['choice']:8}{row['foreseen']:>+10.2f}{gained:>16}")
    codes = np.array(list(table.truth), np.uint8)
    costs = [table.by_seed[table.complete_seeds[0]][digits] for digits in table.truth]
    correlations = {
        "effects": rank_correlation(*(np.array([row[key] for row in rows]) for key in ("foreseen", "gained"))),
        "sensitivity": float(np.mean([within_widths(table, expected_of(p, codes)) for p in foreseen.values()])),
        "OPs": within_widths(table, np.array([row.ops for row in costs])),
        "memory": within_widths(table, np.array([row.memory_bytes for row in costs])),
    }
    print(f"\nrank correlation of foreseen and gained: {correlations['effects']:.2f}")
    print("rank correlation with accuracy among configurations of equal widths:", end=" ")
    print(", ".join(f"{name} {correlations[name]:.2f}" for name in ("sensitivity", "OPs", "memory")))
    report = {name: compare(table, name, args.seeds, foreseen) for name in BUDGETS}
    figures = {"effects": rows, "rank_correlation": correlations, "regret": report}
    print(json.dumps({"benchmark": "sensitivity", "seeds": args.seeds, **figures}))


if __name__ == "__main__":
    main()
