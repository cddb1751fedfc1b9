"""Studies side by side: what was asked differently and what came of it.

State, outcomes, the best within each one's budget and within the tightest one,
who holds the Pareto front of all together, the best accuracy after 5, 10, 20,
... trainings, and how the accuracies of candidates that two studies share
agree. Reads only, also while a search runs.

Examples:
  searcher compare runs/demo runs/demo-seed1
  searcher compare demo demo-seed1 demo-seed2
  searcher compare demo demo-seed1 --json
"""

from __future__ import annotations

import argparse

from bhvit.errors import InvalidInput
from searcher.commands.arguments import add_profile_argument
from searcher.commands.selecting import on_device
from searcher.commands.studies import add_runs_argument, study_named
from searcher.comparison import comparison_of
from searcher.snapshot import snapshot_of
from searcher.views.comparison import comparison_json, comparison_view
from searcher.views.console import console, print_json
from searcher.views.marks import RANKS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("studies", metavar="STUDY", nargs="+", help="two or more: folders, or names in the runs folder")
    add_runs_argument(parser)
    add_profile_argument(parser)
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the comparison; 1 where no study has a training that ended."""
    if len(args.studies) > len(RANKS):
        raise InvalidInput(
            f"compare takes up to {len(RANKS)} studies, but {len(args.studies)} are given; leave some out."
        )
    studies = (snapshot_of(study_named(name, args.runs)) for name in args.studies)
    comparison = comparison_of([on_device(study, args.profile) for study in studies])
    if args.json:
        print_json("compare", comparison_json(comparison))
    else:
        console().print(comparison_view(comparison))
    return 0 if comparison.progress else 1
