"""How good a search is: accuracy lost against the best candidate within the budget, ours beside Optuna's samplers.

Run `python benchmarks/search_quality.py [--seeds 30] [--trainings 40] [--only rugged] [--objectives memory]`. Every
strategy gets the same landscapes (`landscapes.py`), budget, number of trainings and seeds. Regret is that of the best
configuration trained, in percentage points, after a quarter, half and all of the trainings; `named` is that of the one
with the best measured accuracy, which a search would name. With `--objectives` it is the share of the hypervolume
(accuracy and logarithms of costs) that is missed, in percent. Intervals are 95 %; a star marks a paired difference to
ours whose interval excludes zero (+ others worse, - ours worse). The last line is one JSON object.

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
    first = landscapes[0]
    marks = tuple(sorted({max(1, trainings // 4), max(1, trainings // 2), trainings}))
    goal = " + ".join(first.space.search.objectives)
    print(
        f"\n{name}: {goal}; {first.space.size} configurations, {len(first.feasible)} feasible; {len(landscapes)} seeds"
    )
    heads = "".join(f"{f'after {mark}':>16}" for mark in marks)
    print(f"{'strategy':30}{heads}{'named':>8}{'over %':>8}{'twice %':>8}{'ask ms':>8}")
    report: dict[str, dict[str, Any]] = {}
    base: Floats | None = None
    for label, strategy in strategies.items():
        found = [judge(land, strategy(land, trainings, s), s, marks) for s, land in enumerate(landscapes)]
        losses = np.array([f.losses for f in found])
        base = losses if label == OURS else base
        assert base is not None
        verdicts = [_verdict(losses[:, i] - base[:, i]) for i in range(len(marks))]
        cells = "".join(
            f"{f'{m:.2f} ±{h:.2f} {v}':>16}"
            for m, h, v in zip(losses.mean(axis=0), _half(losses), verdicts, strict=True)
        )
        rest = {
            k: float(np.mean([getattr(f, k) for f in found]))
            for k in ("named", "over_budget", "repeats", "ask_seconds")
        }
        print(
            f"{label:30}{cells}{rest['named']:8.2f}{100 * rest['over_budget']:8.1f}{100 * rest['repeats']:8.1f}"
            f"{1000 * rest['ask_seconds']:8.1f}",
            flush=True,
        )
        report[label] = {
            "after": list(marks),
            "loss": losses.mean(axis=0).round(4).tolist(),
            "ci95": _half(losses).round(4).tolist(),
            "verdict": verdicts,
            **{k: round(v, 5) for k, v in rest.items()},
        }
    named = [_regret(l, [max(l.rows.tolist(), key=lambda i: l.measured(i, s))]) for s, l in enumerate(landscapes)]
    print(f"{f'exhaustive, {len(first.feasible)} trainings':30}{0:>11.2f}{'':37}{np.mean(named):8.2f}")
    return report


def _half(losses: Floats) -> Floats:
    """Half the width of the 95 % interval of the mean over seeds."""
    return np.asarray(1.96 * losses.std(axis=0, ddof=1) / len(losses) ** 0.5)


def _verdict(differences: Floats) -> str:
    """+ where the other is worse than ours beyond the interval, - where it is better, = otherwise."""
    half = float(_half(differences[:, None])[0])
    return "=" if abs(differences.mean()) <= half else "+" if differences.mean() > 0 else "-"


def ask_times(trials: int = 40) -> dict[str, float]:
    """Seconds a proposal takes, the median of five, by the number of feasible configurations."""
    space = parse_space(ASK_SPACE, "ask")
    radices = [len(v.choices) for v in space.variables]
    seconds = {}
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
            start = time.perf_counter()
            proposer.propose(number, results, [])
            times.append(time.perf_counter() - start)
        seconds[f"{size:.0e}"] = float(np.median(times))
        print(
            f"a proposal among {size:>10,} feasible configurations of {len(radices)} variables: {1000 * np.median(times):.0f} ms"
        )
    return seconds


def with_objectives(landscape: Landscape, costs: list[str]) -> Landscape:
    """The landscape with costs as further objectives."""
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
    report: dict[str, Any] = {}
    for name in options.only:
        make = FREE.get(name) if options.objectives else LANDSCAPES[name]
        made = [make(seed) for seed in _seeds(options)] if make else [None]
        landscapes = [with_objectives(l, options.objectives) if options.objectives else l for l in made if l]
        if len(landscapes) == len(made):
            report[name] = compare(name, landscapes, strategies, options.trainings)
        else:
            print(f"\n{name}: left out, not complete or not made for these objectives")
    asks = {} if options.objectives else ask_times()
    print(
        json.dumps(
            {
                "benchmark": "search_quality",
                "seeds": options.seeds,
                "objectives": ["accuracy", *options.objectives],
                "results": report,
                "ask_seconds": asks,
            }
        )
    )


def _seeds(options: argparse.Namespace) -> range:
    return range(options.first_seed, options.first_seed + options.seeds)


if __name__ == "__main__":
    main()
