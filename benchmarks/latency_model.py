"""Whether predicted milliseconds are those that are measured, and whether OPs would do instead.

    python benchmarks/latency_model.py [--device avx512] [--candidates 48] [--seed 2026]     # 3 to 5 minutes

Random candidates of the full space (BHViT-Tiny and -Small, any width, any precision in any layer, several image
sizes), none of them seen by the calibration, are written as packed models and run on this machine, one image at a time,
with the instruction set and the threads of the device profile. Measured is the median of whole calls, from uint8 image
to logits; with one thread it is processor time, which is what a clock on the wall shows where nothing else runs.

Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass

import numpy as np

from bhvit.architecture import PRESETS
from bhvit.bhvit_terms import bhvit_terms
from bhvit.cost import price_layers
from bhvit.device_file import load_device
from bhvit.latency import layer_seconds, seconds_by_layer
from searcher.calibration import RandomCandidate, random_candidate
from searcher.latency_fit import relative_errors
from searcher.runtime_timing import machine_name, model_of, random_image
from searcher.statistics import rank_correlation

CALLS, SECONDS = 7, 1.0  # of each candidate: at least so many, then until a second has passed


@dataclass(frozen=True)
class Row:
    """A candidate: OPs, predicted and measured seconds, and which it was."""

    candidate: RandomCandidate
    preset: str
    ops: float
    predicted: float
    measured: float


def main() -> None:
    """Measure, print the table, the errors and the rank correlations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="avx512", help="device profile: a name or a file (default: avx512)")
    parser.add_argument("--candidates", type=int, default=48)
    parser.add_argument("--seed", type=int, default=2026)
    args = parser.parse_args()
    profile, rng = load_device(args.device), np.random.default_rng(args.seed)
    print(f"{'model':6} side   C0    I3 binary   G OPs  predicted  measured ms  error")
    rows = []
    for i in range(args.candidates):
        preset = ("tiny", "small")[i % 4 == 3]
        candidate = random_candidate(rng, PRESETS[preset])
        predicted = sum(seconds_by_layer(candidate.architecture, candidate.layers, profile, layer_seconds).values())
        reported = price_layers(candidate.architecture, candidate.layers, bhvit_terms).ops
        rows.append(
            Row(candidate, preset, reported, predicted, measured(candidate, profile.threads, profile.instruction_set))
        )
        print(line(rows[-1]), flush=True)
    predictions, truth = np.array([r.predicted for r in rows]), np.array([r.measured for r in rows])
    operations = np.array([r.ops for r in rows])
    errors = relative_errors(predictions.tolist(), truth.tolist())
    scale = float(np.median(truth / operations))  # the best that one factor makes of OPs
    report = {
        "benchmark": "latency_model",
        "machine": machine_name(),
        "device": profile.name,
        "instruction_set": profile.instruction_set,
        "threads": profile.threads,
        "candidates": len(rows),
        "median_error": round(float(np.median(errors)), 4),
        "p90_error": round(float(np.quantile(errors, 0.9)), 4),
        "worst_error": round(float(errors.max()), 4),
        "rank_correlation": round(rank_correlation(predictions, truth), 4),
        "ops_median_error": round(float(np.median(relative_errors((operations * scale).tolist(), truth.tolist()))), 4),
        "ops_rank_correlation": round(rank_correlation(operations, truth), 4),
    }
    print(
        f"\npredicted: median error {report['median_error']:.1%}, 90 % within {report['p90_error']:.1%}, "
        f"rank correlation {report['rank_correlation']:.3f}\nOPs times a constant: median error "
        f"{report['ops_median_error']:.1%}, rank correlation {report['ops_rank_correlation']:.3f}\n"
    )
    print(json.dumps(report))


def measured(candidate: RandomCandidate, threads: int, instruction_set: str) -> float:
    """Seconds of an image, the median of whole calls."""
    image, times = random_image(candidate.architecture), list[float]()
    clock = time.thread_time if threads == 1 else time.perf_counter
    with model_of(candidate.architecture, candidate.layers, threads, instruction_set) as model:
        model(image)
        start = time.perf_counter()
        while len(times) < CALLS or time.perf_counter() - start < SECONDS:
            before = clock()
            model(image)
            times.append(clock() - before)
    return statistics.median(times)


def line(row: Row) -> str:
    """The row of the table."""
    a, layers = row.candidate.architecture, row.candidate.layers
    binary = sum(p.name == "binary" for p in layers.values()) / len(layers)
    return (
        f"{row.preset:6} {a.image_size:4} {a.embed_dims[0]:4} {a.intermediate_dims[3]:5} {binary:6.0%} "
        f"{row.ops / 1e9:7.2f} {1e3 * row.predicted:10.2f} {1e3 * row.measured:9.2f}    "
        f"{row.predicted / row.measured - 1:+6.1%}"
    )


if __name__ == "__main__":
    main()
