"""Exported models on this machine: latency, images/s, peak memory, file size and accuracy, beside onnxruntime's FP32.

Files are *.onnx (run by onnxruntime) and *.bhvit (run by bhvit.runtime; FILE@SET asks for an instruction set: avx512,
avx2, neon, scalar or numpy). All are loaded into this process and timed in turns, one run of each a round, at batch 1,
so that whatever else the machine does slows all of them; a ratio is the median over the rounds. Peak memory is that of
a fresh process that loads the file and runs it once.

The reference is the first ONNX file that is not quantized (without one the first file), or --reference.

Examples:
  searcher bench model.onnx model-int8-weights.onnx model.bhvit
  searcher bench model.onnx model.bhvit model.bhvit@avx2 --repeats 100
  searcher bench model.onnx model.bhvit --images data/test --json
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from bhvit.errors import InvalidInput
from searcher.views.bench import bench_json, bench_view, noise_warning
from searcher.views.console import console, print_json
from searcher.views.training import LiveTraining

REPEATS = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="*.onnx, *.bhvit or *.bhvit@SET")
    parser.add_argument("--images", type=Path, metavar="DIR", help="test images, as DIR/<class>/<image>: gives Top-1")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of every runtime (default: 1)")
    parser.add_argument("--repeats", type=int, default=REPEATS, metavar="R", help=f"timed rounds (default: {REPEATS})")
    parser.add_argument("--reference", metavar="FILE", help="what the others are compared with; measured too")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    if args.repeats < 1:
        raise InvalidInput(f"--repeats must be at least 1, but it is {args.repeats}.")
    from searcher.benching.accuracy import TestImages
    from searcher.benching.contestants import contestant
    from searcher.benching.report import bench, steps_of, usual_reference

    files = [contestant(text, args.threads) for text in args.files]
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # before a runtime is loaded
    if args.reference is None:
        reference = usual_reference(files)
    else:
        chosen = contestant(args.reference, args.threads)
        files = files if chosen in files else [chosen, *files]
        reference = files.index(chosen)
    images = None if args.images is None else TestImages.of(args.images)
    with LiveTraining(console(error=True), steps_of(files, args.repeats, images), unit="step") as live:
        report = bench(files, reference, args.repeats, images, live.on_unit)
    if args.json:
        print_json("bench", bench_json(report))
    else:
        out = console()
        out.print(bench_view(report, out.width))
        if report.noisy and not sys.stdout.isatty():
            print(noise_warning(report), file=sys.stderr)  # a pipe has rows alone
    return 0
