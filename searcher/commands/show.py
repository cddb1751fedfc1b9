"""Leaderboard and state of a study, finished or running. Reads only; needs neither torch nor optuna.

Examples:
  searcher show runs/demo
  searcher show demo --top 3
  searcher show demo --json
  searcher show optuna.db --study lr-search
"""

from __future__ import annotations

import argparse

from bhvit.errors import InvalidInput
from searcher.commands.optuna_study import add_name_argument, is_of_optuna, show_optuna
from searcher.commands.studies import add_study_arguments, study_of
from searcher.views.console import console, print_json
from searcher.views.study import study_json, study_view


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_study_arguments(parser)
    add_name_argument(parser)
    parser.add_argument("--top", type=int, default=20, metavar="N", help="only the N best (default: 20)")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the study."""
    if args.top < 1:
        raise InvalidInput(f"--top must be at least 1, but it is {args.top}.")
    if is_of_optuna(args):
        return show_optuna(args)
    folder = study_of(args)
    space, records = folder.space(), folder.records()
    if args.json:
        print_json("show", study_json(folder, space, records))
    else:
        console().print(study_view(folder, space, records, args.top))
    return 0
