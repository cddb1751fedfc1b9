"""Run a budget-constrained search, or continue it: the same command goes on where it was interrupted.

Candidates over the budget are never trained. Every finished epoch is kept, so Ctrl-C, kill -9 or a power cut cost at
most one epoch. `--trials N` means N trained in all, over all restarts. With another `--budget` a study is answered from
its finished trials first, and only what is missing is trained.

Examples:
  searcher search search_spaces/demo.yaml
  searcher search search_spaces/demo.yaml --trials 20
  searcher search search_spaces/pets_tiny.yaml --device cuda --study pets-seed0
  searcher search search_spaces/pets_tiny.yaml --device cuda --processes 4
  searcher search search_spaces/demo.yaml --workers 2 --devices cuda:0,cuda:1
  searcher search search_spaces/demo.yaml --budget memory=0.2,ops=4M
  searcher search search_spaces/demo.yaml --budget latency=0.3ms,device=avx512
  searcher search search_spaces/demo.yaml --executor ray --address auto
  searcher search search_spaces/demo.yaml --storage postgresql://me@host/nas
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from bhvit.errors import InvalidInput
from searcher.commands.arguments import add_budget_argument, add_storage_argument, within_budget
from searcher.commands.executors import add_executor_arguments, check_executor
from searcher.commands.program import program
from searcher.commands.running import add_run_arguments, exit_code, places, run_study
from searcher.coordinator import Ended
from searcher.device_profiles import device_id
from searcher.feasible import profile
from searcher.pricing import priced
from searcher.snapshot import StudySnapshot
from searcher.space import Space, load_space
from searcher.study_folder import StudyFolder
from searcher.trial_fields import TrialFields
from searcher.views.console import console
from searcher.views.leaderboard import leaderboard
from searcher.views.space import space_view
from searcher.views.study import ended_view, next_commands

ANSWERS = 5  # trials of an earlier budget that are shown before a search under another


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="space file")
    parser.add_argument("--trials", type=int, metavar="N", help="trials in all (default: the space file's)")
    add_budget_argument(parser)
    add_storage_argument(parser)
    add_run_arguments(parser)
    add_executor_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Search, then print the leaderboard and what to do next."""
    space = _asked_for(load_space(args.file), args)
    if args.trials is not None and args.trials < 1:
        raise InvalidInput(f"--trials must be at least 1, but it is {args.trials}.")
    check_executor(args)
    found = profile(space)
    out = console()
    out.print(space_view(space, found))
    out.print()
    if not found.satisfiable:
        return 2
    folder = StudyFolder(args.runs / (args.study or space.name))
    _answer_first(folder, space)
    summary = run_study(space, folder.path, args.device, args.trials, processes=args.processes, args=args)
    out.print(ended_view(folder, space, summary.records))
    out.print()
    if summary.ended is not Ended.INTERRUPTED:
        out.print("Next:")
        again = [args.file, *places(args)]
        trials = max(summary.planned, min(2 * summary.planned, summary.feasible))
        go_on = ["search", *again, *_options(args), "--trials", str(trials)]
        out.print(next_commands(program(), go_on, ["ablation", *again], folder.path, summary.records, space))
    return exit_code(summary)


def _options(args: argparse.Namespace) -> list[str]:
    """The options that the user gave and that the same study must get again; not the storage, which it remembers."""
    given = {
        name: getattr(args, name)
        for name in ("study", "budget", "workers", "devices", "executor", "address", "gpus_per_trial")
        if getattr(args, name) not in (None, "processes")
    }
    return [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def _asked_for(space: Space, args: argparse.Namespace) -> Space:
    """The space with what the command line changes of it."""
    space = within_budget(space, args.budget)
    if args.workers is None:
        return space
    return Space(space.name, replace(space.file, search=replace(space.search, workers=args.workers)))


def _answer_first(folder: StudyFolder, space: Space) -> None:
    """Where a finished study is asked again under another budget, show what it knows before training more."""
    stored, out = folder.stored_space(), console()
    if stored is None:
        return
    if space.device is not None and stored.device != space.device:
        before = "by none" if stored.device is None else f"by profile {device_id(stored.device)}"
        out.print(f"Latencies of all trials are predicted by profile {device_id(space.device)}; before {before}.\n")
    if stored.budget == space.budget:
        return
    known = StudySnapshot(folder, space, tuple(priced(space, folder.records())))
    if known.ranked:
        out.print("The best of the finished trials within this budget, before any training for it:", style="bold")
        out.print(leaderboard(known, TrialFields(space), known.ranked[:ANSWERS]))
        out.print()
