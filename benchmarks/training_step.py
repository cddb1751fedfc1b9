"""Milliseconds per training step (forward, backward, AdamW) of small BHViTs, full precision and binary.

    python benchmarks/training_step.py [--threads 2] [--steps 10] [--clock cpu] [--profile]

On a machine that others use at the same time, `--threads 1 --clock cpu` is the reading to compare.

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
import torch.nn.functional as F

from bhvit import ArchitectureConfig, PrecisionPlan
from bhvit.model import build_model

BATCH = 32
ARCHITECTURES = {
    "16-128": ArchitectureConfig.from_lists(
        (16, 32, 64, 128), (64, 128, 256, 512), (1, 1, 2, 1), (1, 1, 2, 4), 96, 3, 6
    ),
    "32-256": ArchitectureConfig.from_lists(
        (32, 64, 128, 256), (256, 512, 512, 1024), (1, 1, 2, 1), (1, 1, 4, 8), 96, 3, 6
    ),
}
PRECISIONS = ("fp32", "binary")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--profile", action="store_true", help="print the operators that take the time")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures = {}
    for name, architecture in ARCHITECTURES.items():
        for precision in PRECISIONS:
            step = training_step(architecture, precision, options.device)
            figures[f"{name} {precision}"] = milliseconds(step, options.steps, options.device, CLOCKS[options.clock])
            print(f"{name:8s} {precision:8s} {figures[f'{name} {precision}']:8.1f} ms a step", flush=True)
            if options.profile:
                with torch.profiler.profile() as profile:
                    step()
                print(
                    profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=50)
                )
    print(
        json.dumps(
            {
                "torch": torch.__version__,
                "threads": options.threads,
                "clock": options.clock,
                "batch": BATCH,
                "ms": figures,
            }
        )
    )


def training_step(architecture: ArchitectureConfig, precision: str, device: str):
    torch.manual_seed(0)
    model = build_model(architecture, PrecisionPlan.uniform(precision)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    images = torch.randn(BATCH, 3, architecture.image_size, architecture.image_size, device=device)
    labels = torch.randint(architecture.num_classes, (BATCH,), device=device)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def milliseconds(step, steps: int, device: str, clock) -> float:
    """Median over `steps`, after two to warm up."""
    durations = []
    for i in range(steps + 2):
        start = clock()
        step()
        if device != "cpu":
            torch.accelerator.synchronize()
        if i >= 2:
            durations.append(clock() - start)
    return 1000 * sorted(durations)[len(durations) // 2]


if __name__ == "__main__":
    main()
