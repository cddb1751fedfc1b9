"""A training step of BHViT-Tiny, ours against a plain eager implementation of the same maths (`plain_bhvit.py`).

    python benchmarks/train_step.py [--device cuda] [--batch 24] [--threads 2] [--compile]

Both run on the same weights and images, interleaved in one process: forward, cross-entropy, backward. Then, in a fresh
process each, the peak memory of whole steps with AdamW at width 3. On a CPU that others use too, `--threads 1` and
`--clock cpu` (process time, the default there) are the reading to compare.

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from plain_bhvit import plain_logits
from torch import Tensor

from bhvit import TINY, PrecisionPlan
from bhvit.model import BHViT, build_model

PRECISIONS = ("fp32", "binary")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
CARD_BYTES = 16e9
CARD_BATCH = 24
RESERVED_BYTES = 0.8e9  # CUDA's context and the kernels' workspaces
STATE_BYTES = 16  # of a parameter: itself, its gradient and two moments, in float32
Program = Callable[[BHViT, Tensor], Tensor]
PROGRAMS: dict[str, Program] = {"plain": plain_logits, "ours": lambda model, images: model(images)}


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    if options.measure:
        return print(json.dumps(peak_bytes(*options.measure, options)))
    report = {
        "machine": torch.cuda.get_device_name() if options.device == "cuda" else f"{platform.machine()} CPU",
        "date": date.today().isoformat(),
        "torch": torch.__version__,
        "device": options.device,
        "threads": options.threads,
        "batch": options.batch,
        "clock": options.clock,
        "compiled": options.compile,
        "step": {p: speed(p, options) for p in PRECISIONS},
        "peak_memory_w3": {p: memory(p, options) for p in PRECISIONS},
        "largest_width_16GB_batch24_estimated": {
            p: {name: largest_width(p, name) for name in PROGRAMS} for p in PRECISIONS
        },
    }
    print("\nLargest width (hidden and intermediate alike) on a 16 GB card, batch 24, float32, estimated:")
    for precision, widths in report["largest_width_16GB_batch24_estimated"].items():
        print(f"  {precision:8s}" + "".join(f"  {name} {w:g}" for name, w in widths.items()))
    print(json.dumps(report))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--batch", type=int, default=8, help="images of the timed step (default: 8)")
    parser.add_argument("--memory-batch", type=int, default=8, help="images of the step whose memory is measured")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, help="default: cpu on the CPU, wall on CUDA")
    parser.add_argument("--compile", action="store_true", help="ours through torch.compile")
    parser.add_argument("--measure", nargs=2, metavar=("PRECISION", "PROGRAM"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.clock = options.clock or ("cpu" if options.device == "cpu" else "wall")
    return options


def speed(precision: str, options: argparse.Namespace) -> dict[str, object]:
    """Milliseconds a step, their ratio round by round, and the largest deviation of a gradient in float64."""
    deviation = gradient_deviation(precision)
    model = build_model(TINY, PrecisionPlan.uniform(precision)).to(options.device).train()
    images, labels = batch(options.batch, options.device)
    model(images)  # quantizers take their scales
    programs = dict(PROGRAMS)
    if options.compile:
        compiled = torch.compile(model)
        programs["ours"] = lambda _, images: compiled(images)
    rounds = [
        {name: seconds(program, model, images, labels, options) for name, program in programs.items()}
        for _ in range(options.rounds + 2)
    ][2:]
    ratios = sorted(r["plain"] / r["ours"] for r in rounds)
    result = {
        **{f"{name}_ms": round(1000 * median(r[name] for r in rounds), 1) for name in programs},
        "ratio": round(median(ratios), 2),
        "ratio_range": [round(ratios[0], 2), round(ratios[-1], 2)],
        "gradient_deviation": deviation,
    }
    print(
        f"{precision:8s} plain {result['plain_ms']:8.1f} ms   ours {result['ours_ms']:8.1f} ms   "
        f"{result['ratio']:.2f}x ({ratios[0]:.2f} to {ratios[-1]:.2f})   gradients within {deviation:.0e}",
        flush=True,
    )
    return result


def seconds(program: Program, model: BHViT, images: Tensor, labels: Tensor, options: argparse.Namespace) -> float:
    clock = CLOCKS[options.clock]
    model.zero_grad()
    start = clock()
    F.cross_entropy(program(model, images), labels).backward()
    if options.device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def gradient_deviation(precision: str) -> float:
    """Largest difference of a gradient between the two programs, relative to that gradient's largest element."""
    architecture = dataclasses.replace(TINY, image_size=96, window_size=3)
    torch.manual_seed(0)
    ours = build_model(architecture, PrecisionPlan.uniform(precision)).double().train()
    images, labels = batch(2, "cpu", architecture.image_size)
    images = images.double()
    ours(images)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    plain = copy.deepcopy(ours)
    for model, program in ((ours, PROGRAMS["ours"]), (plain, PROGRAMS["plain"])):
        F.cross_entropy(program(model, images), labels).backward()
    return max(
        float((a.grad - b.grad).abs().max() / b.grad.abs().max().clamp_min(1e-3))
        for a, b in zip(ours.parameters(), plain.parameters(), strict=True)
    )


def memory(precision: str, options: argparse.Namespace) -> dict[str, float]:
    """Peak memory in MB of training steps at width 3, each program in a process of its own."""
    peaks = {name: measured_apart(precision, name, options) / 1e6 for name in PROGRAMS}
    saved = 1 - peaks["ours"] / peaks["plain"]
    print(
        f"{precision:8s} w=3, batch {options.memory_batch}: peak of plain {peaks['plain']:7.0f} MB   "
        f"ours {peaks['ours']:7.0f} MB   {100 * saved:.0f} % less",
        flush=True,
    )
    return {
        "batch": options.memory_batch,
        **{f"{k}_MB": round(v) for k, v in peaks.items()},
        "saved_share": round(saved, 3),
    }


def measured_apart(precision: str, program: str, options: argparse.Namespace) -> int:
    command = [sys.executable, str(Path(__file__)), "--measure", precision, program]
    command += [
        "--device",
        options.device,
        "--memory-batch",
        str(options.memory_batch),
        "--threads",
        str(options.threads),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def peak_bytes(precision: str, program: str, options: argparse.Namespace) -> int:
    """Peak of the device's memory over two steps with AdamW; on the CPU of the whole process."""
    model = build_model(TINY.scaled(3, 3), PrecisionPlan.uniform(precision)).to(options.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    images, labels = batch(options.memory_batch, options.device)
    for _ in range(2):
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(PROGRAMS[program](model, images), labels).backward()
        optimizer.step()
    if options.device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def largest_width(precision: str, program: str) -> float:
    """The largest multiple of 1/4 whose weights, AdamW state and kept activations fit the card; nothing is run."""
    width = 1.0
    while training_bytes(precision, program, width + 0.25, CARD_BATCH) + RESERVED_BYTES <= CARD_BYTES:
        width += 0.25
    return width


def training_bytes(precision: str, program: str, width: float, images: int) -> float:
    """State of the parameters plus what autograd keeps of a forward pass, counted on PyTorch's meta device."""
    with torch.device("meta"):
        model = build_model(TINY.scaled(width, width), PrecisionPlan.uniform(precision)).train()
        pixels = torch.empty(images, 3, TINY.image_size, TINY.image_size)
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in own:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        PROGRAMS[program](model, pixels)
    return STATE_BYTES * sum(p.numel() for p in model.parameters()) + sum(
        t.untyped_storage().nbytes() for t in kept.values()
    )


def batch(images: int, device: str, size: int = TINY.image_size) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(images, 3, size, size, generator=generator)
    return pixels.to(device), torch.randint(TINY.num_classes, (images,), generator=generator).to(device)


if __name__ == "__main__":
    main()
