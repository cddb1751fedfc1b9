"""How fast spaces are costed: candidates a second over whole spaces, and microseconds of a single candidate.

Run `python benchmarks/space_cost.py`. Costing includes the comparison with the budget. The last line is JSON.
"""

from __future__ import annotations

import json
import platform
import time
from typing import Any

from searcher.feasible import feasible_set
from searcher.space import parse_space

REPEATS = 3
HIDDEN = [1, 1.5, 2, 2.5, 3]
PRECISIONS = ["binary", "int8", "fp16"]
SPACES: dict[str, dict[str, Any]] = {
    "widths x downsampling, attention": {
        "widths": {"hidden": {"choices": HIDDEN}, "intermediate": {"choices": [1, 2, 3, 4]}},
        "precision": {
            "groups": [
                {"layers": "downsample*", "tie": "each", "choices": PRECISIONS},
                {"layers": "stage[23].*.attention", "tie": "each", "choices": ["binary", "fp16"]},
                {"layers": "stage*.mlp", "tie": "stage", "choices": ["binary", "int8"]},
            ]
        },
    },
    "widths per stage": {
        "widths": {
            "hidden": {"choices": HIDDEN, "per_stage": True},
            "intermediate": {"choices": HIDDEN, "per_stage": True},
        },
    },
    "precision of every second layer": {
        "precision": {"groups": [{"layers": "*.block[01].*", "tie": "each", "choices": ["binary", "int8"]}]}
    },
}


def rate(sections: dict[str, Any], accounting: str) -> tuple[int, float]:
    """Size of a space, and the best of some runs in candidates a second."""
    budget = {"relative_to": {}, "memory": 0.5, "ops": 0.5, "accounting": accounting}
    space = parse_space({"model": {"preset": "tiny"}, "budget": budget, **sections}, "benchmark")
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        feasible_set(space)
        seconds.append(time.perf_counter() - start)
    return space.size, space.size / min(seconds)


def single_candidate_us(accounting: str) -> float:
    """Microseconds from choices to total cost of one candidate, averaged over the space's first 500."""
    space = parse_space({"model": {"preset": "tiny"}, **next(iter(SPACES.values()))}, "benchmark")
    choices = [space.decode(i) for i in range(500)]
    start = time.perf_counter()
    for point in choices:
        _ = space.candidate(point).cost(accounting).total
    return (time.perf_counter() - start) / len(choices) * 1e6


def main() -> None:
    """Print the table."""
    report: dict[str, Any] = {"benchmark": "space_cost", "machine": platform.processor() or platform.machine()}
    print(f"{'space':34} {'accounting':10} {'candidates':>11} {'candidates/s':>13}")
    for name, sections in SPACES.items():
        for accounting in ("reported", "complete"):
            size, per_second = rate(sections, accounting)
            print(f"{name:34} {accounting:10} {size:11,} {per_second:13,.0f}")
            report[f"{name}, {accounting}"] = round(per_second)
    for accounting in ("reported", "complete"):
        report[f"single_us_{accounting}"] = round(single_candidate_us(accounting), 1)
        print(f"{'single candidate':34} {accounting:10} {report[f'single_us_{accounting}']:11.1f} us")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
