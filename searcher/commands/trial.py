"""One trial: precisions layer by layer, cost and budget, curves, history, files.

Ends with the commands that train it again and that look at it further. Reads
only, also while the search runs.

Examples:
  searcher trial runs/demo 3
  searcher trial demo 3 --budget memory=0.2
  searcher trial demo 3 --device avx512
  searcher trial demo 3 --json
"""

from __future__ import annotations

import argparse

from searcher.commands.arguments import add_budget_argument, add_profile_argument, trial_number
from searcher.commands.program import program
from searcher.commands.selecting import sliced
from searcher.commands.studies import add_study_arguments, study_of
from searcher.snapshot import snapshot_of
from searcher.trial_report import trial_report
from searcher.views.console import console, print_json
from searcher.views.trial import report_json, trial_view


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_study_arguments(parser)
    parser.add_argument("trial", metavar="TRIAL", type=trial_number, help="number of the trial")
    add_budget_argument(parser)
    add_profile_argument(parser)
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the trial."""
    report = trial_report(sliced(snapshot_of(study_of(args)), args, args.trial), args.trial)
    if args.json:
        print_json("trial", report_json(report))
    else:
        console().print(trial_view(report, program()))
    return 0
