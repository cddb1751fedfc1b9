"""Two trials: what differs in widths, precision by layer, cost and result.

The second trial is of the same study, or of another one that --with names.
Reads only, also while a search runs.

Examples:
  searcher diff runs/demo 3 4
  searcher diff demo 3 0 --with demo-seed1
  searcher diff demo 3 4 --json
"""

from __future__ import annotations

import argparse

from searcher.commands.arguments import add_profile_argument, trial_number
from searcher.commands.selecting import on_device
from searcher.commands.studies import add_study_arguments, study_named, study_of
from searcher.snapshot import snapshot_of
from searcher.trial_diff import Side, TrialDiff
from searcher.views.console import console, print_json
from searcher.views.diff import diff_json, diff_view


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_study_arguments(parser)
    parser.add_argument("before", metavar="TRIAL", type=trial_number, help="number of the first trial")
    parser.add_argument("after", metavar="OTHER_TRIAL", type=trial_number, help="number of the second trial")
    parser.add_argument("--with", dest="other", metavar="STUDY", help="study of the second trial (default: the same)")
    add_profile_argument(parser)
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Print what differs."""
    snapshot = on_device(snapshot_of(study_of(args)), args.profile)
    other = snapshot if args.other is None else on_device(snapshot_of(study_named(args.other, args.runs)), args.profile)
    diff = TrialDiff(Side(snapshot, snapshot.trial(args.before)), Side(other, other.trial(args.after)))
    if args.json:
        print_json("diff", diff_json(diff))
    else:
        console().print(diff_view(diff))
    return 0
