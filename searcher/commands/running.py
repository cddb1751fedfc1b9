"""Running a study: shared by the commands that train."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from searcher.checkpoint_files import WARM_STARTS
from searcher.commands.executors import devices_from, executor_for
from searcher.commands.studies import RUNS, add_runs_argument
from searcher.coordinator import Ended, SearchSummary, run_search
from searcher.executors.processes import WorkerPool
from searcher.preflight import check_trainable
from searcher.progress import SearchProgress
from searcher.space import Space
from searcher.views.console import console
from searcher.views.live import LiveSearch


def add_run_arguments(parser: argparse.ArgumentParser, named_after: str = "the space file") -> None:
    """Declare where studies are kept and what they are trained on; without `--study` they are `named_after`."""
    add_runs_argument(parser)
    parser.add_argument("--study", metavar="NAME", help=f"name of the study (default: from {named_after})")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="train each candidate in N processes, a GPU each (default: the space file's)",
    )


def places(args: argparse.Namespace) -> list[str]:
    """The options of `add_run_arguments` that the user gave and that another study can share, as arguments."""
    runs = [] if args.runs == RUNS else ["--runs", str(args.runs)]
    device = [] if args.device == "auto" else ["--device", args.device]
    processes = [] if args.processes is None else ["--processes", str(args.processes)]
    return runs + device + processes


def run_study(
    space: Space,
    folder: Path,
    device: str,
    trials: int | None = None,
    *,
    processes: int | None = None,
    warm_starts: Path | None = None,
    args: argparse.Namespace | None = None,
    pool: WorkerPool | None = None,
) -> SearchSummary:
    """Run or continue the search of `space` in `folder`, shown live.

    `trials` and `processes` take the place of the space's. FP parents are shared in `warm_starts`, by default the
    folder of that purpose beside the study's. `args` are the arguments of `add_executor_arguments`, where the command
    has them: without, one process of this machine trains, from the `pool` where several studies follow each other.
    """
    check_trainable(space, processes)  # before anything is written
    devices = (device,) if args is None else devices_from(args)
    for name in devices:
        check_device(name, space.search.processes if processes is None else processes)
    recipe, _ = space.training
    progress = SearchProgress(recipe.fp.epochs, recipe.qat.epochs)
    parents = warm_starts or folder.parent / WARM_STARTS
    storage = None if args is None else args.storage
    with LiveSearch(console(), progress, space) as live, _terminated_like_interrupted():
        executor = executor_for(space, devices, parents, processes=processes, args=args, pool=pool)
        summary = run_search(space, folder, executor, listener=live.on_event, trials=trials, storage=storage)
    if summary.trouble is not None:
        console().print(f"Note: {summary.trouble}.", style="yellow")
    return summary


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM, by which clusters and containers stop programs, end a search as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def check_device(device: str, processes: int) -> None:
    """Raise `InvalidInput` where a named device does not exist or is too few; torch is loaded for GPUs alone."""
    if device not in ("auto", "cpu"):
        from searcher.devices import device_of_rank

        device_of_rank(device, 0, processes)


def exit_code(summary: SearchSummary) -> int:
    """130 for an interrupted search, after saying how to go on; 1 where nothing was trained successfully, else 0."""
    if summary.ended is Ended.INTERRUPTED:
        console().print("Interrupted; nothing is lost, the same command goes on.", style="bold")
        return 130
    return 0 if any(r.outcome.trained for r in summary.records) else 1
