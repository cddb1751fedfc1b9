"""Whether a budget in milliseconds finds better networks than one in OPs, at equal milliseconds.

    python benchmarks/latency_budget.py [--device avx512] [--seeds 20] [--trainings 20]     # a minute

On the 288 really trained candidates of `tabular/`. Each is predicted by the profile and run by the packed runtime on
this machine: one image, one thread, the median of some calls, the shortest of several rounds. Then, for a series of
limits in milliseconds, `searcher.proposer` searches under a budget of latency (which knows predictions, never
measurements) and under one of OPs. How many predicted milliseconds, or OPs, a limit allows follows for both from a
rule:

- safe: as many as no candidate exceeds the limit with, so that nothing that is trained is too slow;
- fitted: by a straight line fitted to the times of all candidates; who turns out to be too slow is not used.

Accuracies are those of the most accurate usable candidate (without one that of the worst there is): of all candidates
(`all`), and of those that a search trained, means over seeds. Differences are latency minus OPs in points, with the
95 % interval over seeds. Once times are the predicted ones, once the measured ones. The chart has what budgets of
either kind find at all, at their best limits. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from landscapes import Floats, Landscape, table_of_trainings
from numpy.typing import NDArray
from strategies import ours

from searcher.charts.chart import ACCURACY, Axis, Chart, Form, Role, Series, Unit
from searcher.commands.arguments import within_budget
from searcher.feasible import feasible_set
from searcher.runtime_timing import machine_name, model_of, random_image
from searcher.space import Space
from searcher.statistics import rank_correlation
from searcher.views.chart_text import chart_text
from searcher.views.console import console

CALLS = 7  # of a candidate in a round
SHARES = np.linspace(0.1, 0.9, 9)  # of the candidates that are as fast as a limit


@dataclass(frozen=True)
class Candidates:
    """All candidates by index: what budgets limit (OPs, predicted seconds), and measured seconds."""

    landscape: Landscape
    quantities: dict[str, Floats]
    measured: Floats

    @property
    def accuracy(self) -> Floats:
        """The truth."""
        return self.landscape.accuracy

    def under(self, quantity: str, limit: float) -> Landscape:
        """The landscape under a limit of OPs or latency."""
        section = f"{quantity}={limit!r}{' s' if quantity == 'latency' else ''}"
        space = within_budget(self.landscape.space, section)
        return replace(self.landscape, space=space, feasible=feasible_set(space))


def safe(values: Floats, times: Floats, limit: float) -> float:
    """The largest of `values` at and below which all `times` are within the limit; 0 where there is none."""
    order = np.argsort(values, kind="stable")
    slow = np.flatnonzero(times[order] > limit)
    within = values if not len(slow) else values[values < values[order][slow[0]]]
    return float(within.max(initial=0))


def fitted(values: Floats, times: Floats, limit: float) -> float:
    """What a straight line through all candidates says that the limit buys."""
    slope, start = np.polyfit(values, times, 1)
    return float((limit - start) / slope)


RULES: dict[str, Callable[[Floats, Floats, float], float]] = {"safe": safe, "fitted": fitted}


def measure(space: Space, device_threads: int, instruction_set: str, rounds: int) -> Floats:
    """Seconds of an image for every candidate; the rounds are interleaved, so that no candidate has a bad minute."""
    candidates = [space.candidate(space.decode(i)) for i in range(space.size)]
    found = np.full(space.size, np.inf)
    for _ in range(rounds):
        for i, candidate in enumerate(candidates):
            image, calls = random_image(candidate.architecture), list[float]()
            with model_of(candidate.architecture, candidate.layers, device_threads, instruction_set) as model:
                model(image)
                for _ in range(CALLS):
                    start = time.perf_counter()
                    model(image)
                    calls.append(time.perf_counter() - start)
            found[i] = min(found[i], statistics.median(calls))
    return found


def best(all_: Candidates, rows: NDArray[Any] | list[int], times: Floats, limit: float) -> float:
    """Accuracy (0..1) of the most accurate of `rows` that is fast enough; the least there is where none is."""
    usable = [i for i in rows if times[i] <= limit]
    return max((float(all_.accuracy[i]) for i in usable), default=float(all_.accuracy.min()))


def compare(all_: Candidates, times: Floats, rule: str, seeds: int, trainings: int) -> Iterator[dict[str, Any]]:
    """A row a limit: accuracies in percent under both budgets, of all candidates and of searches."""
    for limit in np.quantile(times, SHARES):
        row: dict[str, Any] = {"limit_ms": round(1e3 * float(limit), 4)}
        found: dict[str, list[float]] = {}
        for name, values in all_.quantities.items():
            allowed = RULES[rule](values, times, float(limit))
            inside = np.flatnonzero(values <= allowed)
            row[f"{name}_all"] = round(100 * best(all_, inside, times, limit), 2)
            searches: list[tuple[int, ...]] = [()] * seeds
            if len(inside):
                landscape = all_.under(name, allowed)
                assert len(landscape.feasible) == len(inside)
                searches = [ours()(landscape, trainings, seed).trained for seed in range(seeds)]
            found[name] = [100 * best(all_, list(trained), times, limit) for trained in searches]
            row[name] = round(float(np.mean(found[name])), 2)
        differences = np.subtract(found["latency"], found["ops"])
        half = 1.96 * float(differences.std(ddof=1)) / np.sqrt(seeds)
        yield {**row, "difference": round(float(differences.mean()), 2), "interval": round(half, 2)}


def front(all_: Candidates, values: Floats) -> tuple[Floats, Floats]:
    """What budgets of `values` can find: measured seconds and accuracy, each more accurate than all that are faster."""
    winners = {int(np.where(values <= limit, all_.accuracy, -1).argmax()) for limit in np.unique(values)}
    times, accuracies, most = list[float](), list[float](), 0.0
    for i in sorted(winners, key=lambda i: (all_.measured[i], -all_.accuracy[i])):
        if all_.accuracy[i] > most:
            most = float(all_.accuracy[i])
            times.append(float(all_.measured[i]))
            accuracies.append(most)
    return np.array(times), np.array(accuracies)


def chart_of(fronts: dict[str, tuple[Floats, Floats]]) -> Chart:
    """The fronts against measured milliseconds."""
    end = max(times.max() for times, _ in fronts.values())
    series = []
    for index, (name, (times, accuracies)) in enumerate(fronts.items()):
        xs, ys = (*times.tolist(), float(end)), (*accuracies.tolist(), float(accuracies[-1]))
        series.append(Series(f"budgets of {name}", Role.RANK, xs, ys, Form.STEPS, index=index))
    return Chart("", Axis("measured latency", Unit.SECONDS), ACCURACY, tuple(series))


def line(row: dict[str, Any]) -> str:
    """The row of the table."""
    every, found = ("".join(f"{row[name + of]:>9.1f}" for name in ("latency", "ops")) for of in ("_all", ""))
    return f"{row['limit_ms']:>9.3f}{every}  {found}{row['difference']:>+9.1f} ± {row['interval']:.1f}"


def main() -> None:
    """Measure, search, print tables, chart and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="avx512", help="device profile: a name or a file (default: avx512)")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trainings", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=4, help="of measurements (default: 4)")
    args = parser.parse_args()
    landscape = table_of_trainings(free=True)
    assert landscape is not None
    space = within_budget(landscape.space, f"device={args.device}")
    assert space.device is not None
    landscape, device = replace(landscape, space=space, feasible=feasible_set(space)), space.device
    predicted = landscape.feasible.latency_seconds
    assert predicted is not None
    measured = measure(space, device.threads, device.instruction_set, args.rounds)
    all_ = Candidates(landscape, {"latency": predicted, "ops": landscape.feasible.ops}, measured)
    correlations = {name: round(rank_correlation(values, measured), 3) for name, values in all_.quantities.items()}
    print(f"{machine_name()}: {space.size} candidates of {1e3 * measured.min():.3f} to {1e3 * measured.max():.3f} ms")
    print(f"rank correlation with measured times: predicted {correlations['latency']}, OPs {correlations['ops']}")
    report: dict[str, Any] = {
        "benchmark": "latency_budget",
        "machine": machine_name(),
        "device": device.name,
        "candidates": space.size,
        "seeds": args.seeds,
        "trainings": args.trainings,
        "rank_correlation": correlations,
    }
    for kind, times in (("predicted", predicted), ("measured", measured)):
        for rule in RULES:
            print(f"\nequal {kind} milliseconds, {rule} limits; Top-1 (%) of latency and OPs budgets")
            print(f"{'limit ms':>9}{'all: ms':>9}{'OPs':>9}{'found: ms':>11}{'OPs':>9}{'points':>9}")
            rows = []
            for row in compare(all_, times, rule, args.seeds, args.trainings):
                rows.append(row)
                print(line(row), flush=True)
            mean = statistics.mean(row["difference"] for row in rows)
            print(f"{'mean':>9}{'':38}{mean:>+9.1f}")
            report[f"{kind}_{rule}"] = {"mean_difference": round(mean, 2), "rows": rows}
    print("\nmost accurate that a budget of any size finds, by its measured time")
    console().print(chart_text(chart_of({n: front(all_, v) for n, v in all_.quantities.items()}), height=14))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
