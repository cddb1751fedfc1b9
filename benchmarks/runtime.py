"""How fast, small and lean BHViT-Tiny is at one bit: the packed runtime beside onnxruntime, in the same rounds.

Run `python benchmarks/runtime.py [--rounds 15] [--cache FOLDER] [--profile]`; takes three minutes, most of them to
write the files, which --cache keeps for the next time. 224 px, 37 classes, batch 1, seeded random weights; ONNX and
packed file of a model are the same network. Every round runs everything once, ratios are medians over the rounds; peak
memory is that of fresh processes. --profile shows where the packed runtime's time goes. MB are 10^6 bytes.

Two graphs of the FP32 network are references: what torch.onnx traces, which is what the targets of issue 6 and the
thesis mean, and what `searcher deploy` writes, which has half the nodes. "packed FP32" is that network in our runtime:
what fusion alone gives, without bits.
Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from bhvit.architecture import TINY
from bhvit.errors import InvalidInput
from bhvit.precision import PrecisionPlan
from searcher.benching.contestants import Contestant
from searcher.benching.fresh_process import peak_bytes
from searcher.benching.models import OpenModel, open_model
from searcher.benching.report import noise, processor_name
from searcher.benching.rounds import timed_rounds, timings

BINARY, FP32 = PrecisionPlan.uniform("binary"), PrecisionPlan.uniform("fp32")
MODELS = {  # file -> width, precisions
    "fp32_w1": (1, FP32),
    "binary_w1": (1, BINARY),
    "binary_w2": (2, BINARY),
    "binary_w3": (3, BINARY),
    "binary_w3_fp16": (3, BINARY.with_layers("downsample*", "fp16")),
}
CALIBRATION_IMAGES = 8
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Row:
    """A line of the table: what it is called, its file, instruction set and threads."""

    name: str
    file: str
    instruction_set: str | None = None
    threads: int = 1


DEPLOYED = "ORT FP32 w=1"
ONNX_ROWS = (
    Row("ORT FP32 w=1, traced", "fp32_w1_traced.onnx"),
    Row(DEPLOYED, "fp32_w1.onnx"),
    Row("ORT FP32 w=1, static QDQ INT8", "fp32_w1_qdq.onnx"),
    Row("ORT binary w=1, INT8 weights", "binary_w1_int8.onnx"),
)
PACKED = {
    "FP32 w=1": "fp32_w1.bhvit",
    "w=1": "binary_w1.bhvit",
    "w=2": "binary_w2.bhvit",
    "w=3": "binary_w3.bhvit",
    "w=3, fp16 down": "binary_w3_fp16.bhvit",
}
SETS = ("avx512", "avx2", "neon", "scalar")
TARGETS: tuple[tuple[str, str, str, float], ...] = (  # row, figure, comparison, bound (issue 6)
    ("packed w=1, avx512", "speed", ">=", 18),
    ("packed w=3, avx512", "speed", ">=", 3.7),
    ("packed w=3, fp16 down, avx512", "speed", ">=", 3.2),
    ("packed w=1, avx2", "speed", ">=", 6),
    ("packed w=3, avx2", "speed", ">=", 1.2),
    ("packed w=1, avx512, 2 threads", "scaling", ">=", 1.5),
    ("packed w=3, avx512, 2 threads", "scaling", ">=", 1.5),
    ("packed w=1, avx512", "peak_MB", "<=", 40),
    ("packed w=3, avx512", "peak_MB", "<=", 64),
    ("packed w=1, avx512", "file_MB", "<=", 4.2),
    ("packed w=3, avx512", "file_MB", "<=", 22),
)
UNITS = {"speed": "x of the traced one", "scaling": "x of one thread", "peak_MB": "MB peak", "file_MB": "MB file"}


def main() -> None:
    options = arguments()
    with folder(options.cache) as cache:
        write_files(cache)
        rows = [*ONNX_ROWS, *packed_rows(cache, options.sets)]
        if options.clock == "cpu":
            rows = [row for row in rows if row.threads == 1]
        models = [opened(cache, row) for row in rows]
        measured = measure(rows, models, options.rounds, CLOCKS[options.clock])
        profiles = profile(rows, models) if options.profile else {}
    targets = [judged(measured, *target) for target in TARGETS]
    print_targets(targets)
    print(
        json.dumps(
            {
                "benchmark": "runtime",
                "machine": processor_name(),
                "cores": os.cpu_count(),
                "date": date.today().isoformat(),
                "rounds": options.rounds,
                "clock": options.clock,
                "rows": measured,
                "targets": targets,
                "profile_ms": profiles,
            }
        )
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cache", type=Path, help="folder that keeps the files (default: a temporary one)")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu: time that the process itself got, for a machine that does other things too; without 2 threads",
    )
    parser.add_argument("--sets", nargs="+", default=SETS[:3], choices=SETS, help="instruction sets, where they exist")
    parser.add_argument("--profile", action="store_true", help="milliseconds of each kind of layer")
    return parser.parse_args()


@contextmanager
def folder(cache: Path | None) -> Iterator[Path]:
    if cache is None:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
    else:
        cache.mkdir(parents=True, exist_ok=True)
        yield cache


def write_files(cache: Path) -> None:
    """Write what the cache lacks, in a process of its own: torch's memory and threads do not meet what is timed."""
    import subprocess

    missing = [name for name in (*PACKED.values(), *(row.file for row in ONNX_ROWS)) if not (cache / name).exists()]
    for model in MODELS:
        files = [name for name in missing if Path(name).stem.startswith(model) and owner(name) == model]
        if files:
            print(f"writing {', '.join(files)}", file=sys.stderr, flush=True)
            code = f"import runtime; runtime.export({str(cache)!r}, {model!r}, {files!r})"
            path = os.pathsep.join([str(Path(__file__).parent), *(entry or os.getcwd() for entry in sys.path)])
            subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})


def owner(file: str) -> str:
    """The model that a file is written from: the longest name of one that the file's begins with."""
    return max((name for name in MODELS if file.startswith(name)), key=len)


def export(cache: str, name: str, files: Sequence[str]) -> None:
    """Write the files of one model, with seeded random weights."""
    import torch

    from bhvit.export import onnx as exports
    from bhvit.export.packed import pack
    from bhvit.model import build_model

    def qdq(model: Any, path: Path) -> None:
        shape = (CALIBRATION_IMAGES, 1, 3, TINY.image_size, TINY.image_size)
        exports.export_qdq(model, path, np.random.default_rng(0).standard_normal(shape, np.float32))

    writers = {"_traced.onnx": traced, "_qdq.onnx": qdq, "_int8.onnx": exports.export_int8_weights}
    writers |= {".onnx": exports.export_fp32, ".bhvit": pack}
    width, plan = MODELS[name]
    torch.manual_seed(0)
    model = build_model(TINY.scaled(width, width), plan)
    with torch.no_grad():
        model(torch.randn(2, 3, TINY.image_size, TINY.image_size))  # quantizers take their scales from a batch
    model.eval()
    for file in files:
        writers[file.removeprefix(name)](model, Path(cache) / file)


def traced(model: Any, path: Path) -> None:
    """What `torch.onnx.export` makes of the model: what users have without our exporter.

    Slopes of PReLU lose the dimensions of size 1 that the exporter gives them, which onnxruntime refuses here.
    """
    import onnx
    import torch

    images = torch.zeros(1, 3, TINY.image_size, TINY.image_size)
    program = torch.onnx.export(model, (images,), dynamo=True, opset_version=20, verbose=False)
    assert program is not None
    graph = program.model_proto
    slopes = {node.input[1] for node in graph.graph.node if node.op_type == "PRelu"}
    for tensor in graph.graph.initializer:
        if tensor.name in slopes:
            tensor.dims[:] = [math.prod(tensor.dims)]
    onnx.save(graph, path)


def packed_rows(cache: Path, sets: Sequence[str]) -> Iterator[Row]:
    """The packed files with every instruction set that this machine has, then two threads with the best."""
    available = [name for name in sets if can_run(cache / PACKED["w=1"], name)]
    for name in available:
        for model, file in PACKED.items():
            yield Row(f"packed {model}, {name}", file, name)
    for name in available[:1]:
        for model in ("w=1", "w=3"):
            yield Row(f"packed {model}, {name}, 2 threads", PACKED[model], name, 2)


def can_run(path: Path, instruction_set: str) -> bool:
    try:
        open_model(Contestant(path, instruction_set))
    except InvalidInput:
        return False
    return True


def opened(cache: Path, row: Row) -> OpenModel:
    return open_model(Contestant(cache / row.file, row.instruction_set, row.threads))


def measure(
    rows: Sequence[Row], models: Sequence[OpenModel], rounds: int, clock: Callable[[], float]
) -> dict[str, dict[str, float | None]]:
    """Print the table; its figures by row."""
    image = models[0].prepare(noise(TINY.image_size)), models[-1].prepare(noise(TINY.image_size))

    def run(model: OpenModel) -> Callable[[], object]:
        return lambda: model.run(image[model.contestant.packed])

    seconds = timed_rounds([run(m) for m in models], rounds, warm_up=3, clock=clock)
    print(f"{'':38}{'ms':>8}{'p95':>8}{'x traced':>10}{'x ours':>8}{'peak MB':>9}{'file MB':>9}")
    ours = next(i for i, row in enumerate(rows) if row.name == DEPLOYED)
    figures = {}
    against = zip(timings(seconds, 0), timings(seconds, ours), strict=True)
    for place, (row, model, (timing, other)) in enumerate(zip(rows, models, against, strict=True)):
        one = next(i for i, r in enumerate(rows) if (r.file, r.instruction_set) == (row.file, row.instruction_set))
        scaling = float(np.median(seconds[:, one] / seconds[:, place])) if one != place else None
        peak, size = peak_bytes(model.contestant) / 1e6, model.contestant.path.stat().st_size / 1e6
        figures[row.name] = {
            "median_ms": round(1000 * timing.median, 3),
            "p95_ms": round(1000 * timing.p95, 3),
            "speed": round(timing.speed, 3),
            "speed_of_deployed": round(other.speed, 3),
            "scaling": scaling and round(scaling, 3),
            "peak_MB": round(peak, 2),
            "file_MB": round(size, 4),
        }
        times = f"{1000 * timing.median:8.2f}{1000 * timing.p95:8.2f}{timing.speed:9.2f}x{other.speed:7.2f}x"
        again = "" if scaling is None else f"  {scaling:.2f}x of one thread"
        print(f"{row.name:38}{times}{peak:9.1f}{size:9.2f}{again}", flush=True)
    return figures


def judged(
    measured: dict[str, dict[str, float | None]], row: str, figure: str, comparison: str, bound: float
) -> dict[str, object]:
    """A target with what was measured; `met` is None where this machine has no such row."""
    value = measured.get(row, {}).get(figure)
    met = None if value is None else value >= bound if comparison == ">=" else value <= bound
    return {"row": row, "figure": figure, "target": f"{comparison} {bound:g}", "measured": value, "met": met}


def print_targets(targets: Sequence[dict[str, object]]) -> None:
    print(f"\n{'target':38}{'wanted':>8}{'measured':>10}")
    for t in targets:
        measured = "-" if t["measured"] is None else f"{t['measured']:.2f}"
        word = {None: "not measured", True: "met", False: "MISSED"}[t["met"]]  # type: ignore[index]
        print(f"{t['row']:38}{t['target']:>8}{measured:>10}  {UNITS[str(t['figure'])]:18} {word}")


def profile(rows: Sequence[Row], models: Sequence[OpenModel], runs: int = 15) -> dict[str, dict[str, float]]:
    """Print where the packed runtime's time goes, in milliseconds a kind of layer (medians)."""
    from bhvit import runtime

    profiles: dict[str, dict[str, float]] = {}
    for row, model in zip(rows, models, strict=True):
        if not model.contestant.packed:
            continue
        packed = runtime.load(model.contestant.path, row.threads, row.instruction_set)
        image = model.prepare(noise(TINY.image_size))
        samples = [packed.profile(image) for _ in range(runs)]
        kinds: dict[str, float] = defaultdict(float)
        for address in samples[0]:
            kinds[address.rpartition(".")[2].rstrip("0123456789")] += 1000 * median(s[address] for s in samples)
        profiles[row.name] = {kind: round(ms, 3) for kind, ms in kinds.items()}
    kinds_named = list(next(iter(profiles.values()), {}))
    print(f"\n{'ms in':38}{'all':>8}" + "".join(f"{kind:>12}" for kind in kinds_named))
    for name, kinds in profiles.items():
        total = sum(kinds.values())
        shares = "".join(f"{ms:7.2f} {ms / total:4.0%}" for ms in kinds.values())
        print(f"{name:38}{total:8.2f}{shares}")
    return profiles


if __name__ == "__main__":
    main()
