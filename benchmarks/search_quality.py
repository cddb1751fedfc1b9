"""How good a search is: accuracy lost against the best candidate within the budget, ours beside Optuna's samplers.

Run `python benchmarks/search_quality.py [--seeds 30] [--trainings 40] [--only rugged] [--objectives memory]`. Every
strategy gets the same landscapes (`landscapes.py`), budget, number of trainings and seeds. Regret is that of the best
configuration trained, in percentage points, after a quarter, half and all of the trainings; `named` is that of the one
with the best measured accuracy, which a search would name. With `--objectives` it is the share of the hypervolume
(accuracy and logarithms of costs) that is missed, in percent. Intervals are 95 %; + marks a strategy
worse than ours (the interval of the paired difference excludes zero), - a better one, = neither. `over` and `twice` are
shares of the trainings. The last line is one JSON object.

Optuna's GPSampler needs scipy (`pip install scipy`), which nothing else here does; without it its rows are left out.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
from landscapes import FREE, LANDSCAPES, Floats, Landscape
from optuna._hypervolume import compute_hypervolume
from strategies import FRONT_STRATEGIES, OURS, STRATEGIES, Search, Strategy, gaussian_process_at_hand

from searcher.evidence import TrialResult
from searcher.feasible import FeasibleSet
from searcher.proposer import Proposer
from searcher.records import Outcome
from searcher.space import parse_space

ASK_SIZES = (10**3, 10**5, 10**7)
ASK_SPACE = {
    "model": {"preset": "tiny"},
    "widths": {"hidden": {"choices": [1, 1.5, 2, 2.5, 3]}, "intermediate": {"choices": [1, 2, 3, 4]}},
    "precision": {"groups": [{"layers": "*", "tie": "each", "choices": ["binary", "int8"]}]},
}


@dataclass(frozen=True)
class Judged:
    """One search: losses after some numbers of trainings and of the one named; shares; seconds a proposal."""

    losses: tuple[float, ...]
    named: float
    over_budget: float
    repeats: float
    ask_seconds: float


def judge(landscape: Landscape, search: Search, seed: int, marks: tuple[int, ...]) -> Judged:
    """Regret in points, or with costs among the objectives the missed hypervolume in percent."""
    feasible = set(landscape.rows.tolist())
    inside = [i if i in feasible else None for i in search.trained]
    loss = _regret if landscape.space.search.objectives == ("accuracy",) else _missed_volume
    valid = [i for i in inside if i is not None]
    best_measured = max(valid, key=lambda i: landscape.measured(i, seed), default=None)
    count = len(search.trained)
    return Judged(
        tuple(loss(landscape, [i for i in inside[:mark] if i is not None]) for mark in marks),
        _regret(landscape, [] if best_measured is None else [best_measured]),
        1 - len(valid) / count,
        1 - len(set(search.trained)) / count,
        search.ask_seconds,
    )


def _regret(landscape: Landscape, trained: list[int]) -> float:
    accuracy = landscape.accuracy
    among = accuracy[landscape.rows]
    return 100 * float(among.max() - (accuracy[trained].max() if trained else among.min()))


def _missed_volume(landscape: Landscape, trained: list[int]) -> float:
    costs = {"memory": landscape.feasible.memory_bytes, "ops": landscape.feasible.ops}
    columns = [-landscape.accuracy[landscape.rows], *(np.log(costs[n]) for n in landscape.space.search.objectives[1:])]
    points = np.stack(columns, axis=1)
    points = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    chosen = points[np.isin(landscape.rows, trained)]
    whole, found = (compute_hypervolume(p, np.ones(points.shape[1])) for p in (points, chosen))
    return 100 * (1 - found / whole)


def compare(
    name: str, landscapes: list[Landscape], strategies: dict[str, Strategy], trainings: int
) -> dict[str, dict[str, Any]]:
    """Run every strategy on every seed and print a table."""
    first, goal = landscapes[0], " + ".join(landscapes[0].space.search.objectives)
    sizes = f"{first.space.size} configurations, {len(first.feasible)} feasible"
    marks = tuple(sorted({max(1, trainings // 4), max(1, trainings // 2), trainings}))
    print(f"\n{name}: {goal}; {sizes}; {len(landscapes)} seeds")
    heads = "".join(f"{f'after {mark}':>16}" for mark in marks)
    print(f"{'strategy':30}{heads}{'named':>8}{'over %':>8}{'twice %':>8}{'ask ms':>8}")
    report: dict[str, dict[str, Any]] = {}
    base = None
    for label, strategy in strategies.items():
        found = [judge(land, strategy(land, trainings, s), s, marks) for s, land in enumerate(landscapes)]
        losses = np.array([f.losses for f in found])
        base = losses if base is None else base  # ours comes first
        report[label] = _summary(found, losses, losses - base)
        print(_line(label, report[label]), flush=True)
    measured = [[land.measured(i, s) for i in land.rows.tolist()] for s, land in enumerate(landscapes)]
    named = [_regret(land, [int(land.rows[np.argmax(m)])]) for land, m in zip(landscapes, measured, strict=True)]
    print(
        f"{f'exhaustive, {len(first.feasible)} trainings':30}{0:>11.2f}{'':{16 * len(marks) - 11}}{np.mean(named):8.2f}"
    )
    return report


def _summary(found: list[Judged], losses: Floats, differences: Floats) -> dict[str, Any]:
    """Means over the seeds; a verdict is + where the other is worse than ours beyond the interval, - where better."""
    half = _half(differences)
    signs = np.where(np.abs(differences.mean(axis=0)) <= half, 0, np.sign(differences.mean(axis=0)))
    means = {
        name: round(float(np.mean([getattr(f, name) for f in found])), 5)
        for name in ("named", "over_budget", "repeats", "ask_seconds")
    }
    return {
        "loss": losses.mean(axis=0).round(4).tolist(),
        "ci95": _half(losses).round(4).tolist(),
        "verdict": ["=+-"[int(sign)] for sign in signs],
        **means,
    }


def _line(label: str, row: dict[str, Any]) -> str:
    """The strategy's line of the table."""
    cells = zip(row["loss"], row["ci95"], row["verdict"], strict=True)
    losses = "".join(f"{f'{mean:.2f} ±{half:.2f} {verdict}':>16}" for mean, half, verdict in cells)
    shares = f"{100 * row['over_budget']:8.1f}{100 * row['repeats']:8.1f}"
    return f"{label:30}{losses}{row['named']:8.2f}{shares}{1000 * row['ask_seconds']:8.1f}"


def _half(losses: Floats) -> Floats:
    """Half the width of the 95 % interval of the mean over seeds."""
    return np.asarray(1.96 * losses.std(axis=0, ddof=1) / len(losses) ** 0.5)


def ask_times(trials: int = 40) -> dict[str, float]:
    """Seconds of processor time a proposal takes, the median of five, by the number of feasible configurations."""
    space = parse_space(ASK_SPACE, "ask")
    radices, seconds = [len(v.choices) for v in space.variables], {}
    print()
    for size in ASK_SIZES:
        draw = np.random.default_rng(0)
        index = np.arange(size) * (space.size // size)
        codes = np.stack([c.astype(np.uint8) for c in np.unravel_index(index, radices)], axis=1)
        costs = draw.uniform(1e5, 1e7, (2, size))
        proposer = Proposer(space, FeasibleSet(codes, costs[0], costs[1], space.size, size), seed=0)
        rows = draw.choice(size, trials, replace=False)
        results = [
            TrialResult(n, tuple(codes[r].tolist()), Outcome.COMPLETE, 0.6 + 0.1 * draw.random(), (), *costs[:, r])
            for n, r in enumerate(rows)
        ]
        times = []
        for number in range(trials, trials + 5):
            start = time.process_time()
            proposer.propose(number, results, [])
            times.append(time.process_time() - start)
        seconds[f"{size:.0e}"] = round(float(np.median(times)), 4)
        print(
            f"a proposal among {size:>10,} configurations of {len(radices)} variables: {np.median(times):.3f} s of CPU"
        )
    return seconds


def with_objectives(landscape: Landscape, costs: list[str]) -> Landscape:
    """The landscape with costs as further objectives."""
    if not costs:
        return landscape
    plain = landscape.space.to_plain()
    space = parse_space({**plain, "search": {**plain["search"], "objectives": ["accuracy", *costs]}}, "front")
    return replace(landscape, space=space)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--first-seed", type=int, default=0, help="constants were chosen on seeds from 1000")
    parser.add_argument("--trainings", type=int, default=40)
    parser.add_argument("--only", nargs="+", choices=list(LANDSCAPES), default=list(LANDSCAPES))
    parser.add_argument("--objectives", nargs="*", choices=["memory", "ops"], default=[], help="besides accuracy")
    parser.add_argument("--strategies", nargs="+", help="parts of the names of those to compare with ours")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    strategies = FRONT_STRATEGIES if options.objectives else STRATEGIES
    skipped = () if gaussian_process_at_hand() else ("GP",)
    strategies = {k: s for k, s in strategies.items() if not k.startswith(skipped or "-")}
    if options.strategies:
        strategies = {k: s for k, s in strategies.items() if k == OURS or any(part in k for part in options.strategies)}
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    report: dict[str, Any] = {}
    for name in options.only:
        make = (FREE if options.objectives else LANDSCAPES).get(name, lambda seed: None)
        landscapes = [with_objectives(land, options.objectives) for seed in seeds if (land := make(seed))]
        if landscapes:
            report[name] = compare(name, landscapes, strategies, options.trainings)
        else:
            print(f"\n{name}: left out: its table is not complete, or it is not made for these objectives")
    line = {"benchmark": "search_quality", "seeds": options.seeds, "trainings": options.trainings}
    line |= {"objectives": ["accuracy", *options.objectives], "results": report}
    print(json.dumps(line | {"ask_seconds": {} if options.objectives else ask_times()}))


if __name__ == "__main__":
    main()
