"""Who trains, from the command line: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bhvit.errors import InvalidInput
from searcher.candidate_trainer import CandidateTrainer
from searcher.executors.executor import Executor
from searcher.executors.placement import Placement
from searcher.executors.processes import ProcessExecutor, WorkerPool
from searcher.space import Space

EXECUTORS = ("processes", "ray")


def add_executor_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how many trials are trained at once, and where."""
    group = parser.add_argument_group("several workers (docs/distributed.md)")
    group.add_argument(
        "--workers", type=int, metavar="N", help="trials trained side by side (default: the space file's, or 1)"
    )
    group.add_argument(
        "--devices",
        metavar="LIST",
        help="devices that the workers share in turn, such as cuda:0,cuda:1 (default: auto)",
    )
    group.add_argument(
        "--executor",
        choices=EXECUTORS,
        default="processes",
        help="processes of this machine, or the workers of a Ray cluster (default: processes)",
    )
    group.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="head of the Ray cluster of which this machine is part; auto finds it (default: this machine alone)",
    )
    group.add_argument(
        "--gpus-per-trial",
        type=float,
        metavar="X",
        help="GPUs of each trial in Ray; 0.5 trains two on each (default: 1 where there are any, else 0)",
    )


def devices_from(args: argparse.Namespace) -> tuple[str, ...]:
    """The devices that `--devices` or `--device` names."""
    text = getattr(args, "devices", None)
    if text is None:
        return (args.device,)
    if args.device != "auto":
        raise InvalidInput(f"--device and --devices exclude each other, but both are given; use --devices {text}.")
    devices = tuple(part.strip() for part in text.split(","))
    if not all(devices):
        raise InvalidInput(f"--devices takes names with commas between them, but it is {text!r}; use cuda:0,cuda:1.")
    return devices


def executor_for(
    space: Space,
    devices: Sequence[str],
    warm_starts: Path,
    *,
    processes: int | None = None,
    args: argparse.Namespace | None = None,
    pool: WorkerPool | None = None,
) -> Executor:
    """The workers of a study: `space.search.workers` processes that share `devices` in turn, or a Ray cluster."""
    recipe, data = space.training
    search = space.search
    train = CandidateTrainer(
        recipe,
        data,
        warm_starts.resolve(),
        search.seed,
        threads=search.threads,
        processes=search.processes if processes is None else processes,
    )
    if args is not None and _wants_ray(args):
        from searcher.executors.ray_cluster import RayExecutor

        gpus = args.gpus_per_trial
        if gpus is None and train.processes > 1:
            gpus = train.processes
        return RayExecutor(
            train,
            address=args.address,
            slots=search.workers,
            gpus_per_trial=gpus,
            cpus_per_trial=search.threads or 1,
        )
    if search.workers > 1 and train.threads is None:
        train = replace(train, threads=max(1, (os.cpu_count() or 1) // search.workers))
    places = [devices[i % len(devices)] for i in range(search.workers)]
    names = [f"worker {i + 1}" + (f" on {place}" if len(devices) > 1 else "") for i, place in enumerate(places)]
    return ProcessExecutor([replace(train, device=place) for place in places], names, pool)


def check_executor(args: argparse.Namespace) -> None:
    """Raise `InvalidInput` for options that contradict each other, before anything is printed or started."""
    devices_from(args)
    if _wants_ray(args) and args.gpus_per_trial is not None:
        Placement(1.0, args.gpus_per_trial)


def _wants_ray(args: argparse.Namespace) -> bool:
    """Whether Ray trains; raises `InvalidInput` for options that belong to the other executor."""
    chosen: bool = args.executor == "ray"
    foreign = {"devices": None, "device": "auto"} if chosen else {"address": None, "gpus_per_trial": None}
    given = [name for name, default in foreign.items() if getattr(args, name) != default]
    if given:
        option = "--" + given[0].replace("_", "-")
        remedy = "--gpus-per-trial, with 0 to train on CPUs" if chosen else "--executor ray"
        raise InvalidInput(f"{option} must not be given with --executor {args.executor}; use {remedy}.")
    return chosen
