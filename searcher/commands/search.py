"""Run a budget-constrained search, or continue it: the same command goes on where it was interrupted.

Candidates over the budget are never trained. Every finished epoch is kept, so Ctrl-C, kill -9 or a power cut cost at
most one epoch. `--trials N` means N trained in all, over all restarts.

Examples:
  searcher search search_spaces/demo.yaml
  searcher search search_spaces/demo.yaml --trials 20
  searcher search search_spaces/pets_tiny.yaml --device cuda --study pets-seed0
  searcher search search_spaces/pets_tiny.yaml --device cuda --processes 4
"""

from __future__ import annotations

import argparse

from bhvit.errors import InvalidInput
from searcher.commands.running import add_run_arguments, exit_code, places, program, run_study
from searcher.coordinator import Ended
from searcher.feasible import profile
from searcher.space import load_space
from searcher.study_folder import StudyFolder
from searcher.views.console import console
from searcher.views.space import space_view
from searcher.views.study import next_commands, study_view


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="space file")
    parser.add_argument("--trials", type=int, metavar="N", help="trials in all (default: the space file's)")
    add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Search, then print the leaderboard and what to do next."""
    space = load_space(args.file)
    if args.trials is not None and args.trials < 1:
        raise InvalidInput(f"--trials must be at least 1, but it is {args.trials}.")
    found = profile(space)
    out = console()
    out.print(space_view(space, found))
    out.print()
    if not found.satisfiable:
        return 2
    folder = StudyFolder(args.runs / (args.study or space.name))
    summary = run_study(space, folder.path, args.device, args.trials, processes=args.processes)
    out.print(study_view(folder, space, summary.records, top=None))
    out.print()
    if summary.ended is not Ended.INTERRUPTED:
        out.print("Next:")
        again = [args.file, *places(args)]
        study = [] if args.study is None else ["--study", args.study]
        go_on = ["search", *again, *study, "--trials", str(2 * summary.planned)]
        out.print(next_commands(program(), go_on, ["ablation", *again], folder.path, summary.records, space))
    return exit_code(summary)
