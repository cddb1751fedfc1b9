"""Examine a study: files, locks, unfinished trials, the database that mirrors it, disk space. Needs no torch.

Says what is wrong and what --fix would do about it. --fix mends what can be mended: torn checkpoints are moved aside
(the phase is trained again), the database is brought up to date or written anew from the trials' records with the old
one kept aside, temporary files of killed processes are removed. Nothing else is deleted. While a search runs on the
study nothing is mended. Exit code 0: healthy, or everything was mended; 1: something is left to be done.

Examples:
  searcher doctor runs/demo
  searcher doctor demo --fix
  searcher doctor demo --storage postgresql://me:secret@server/studies
  searcher doctor demo --json
"""

from __future__ import annotations

import argparse

from searcher.commands.arguments import add_storage_argument
from searcher.commands.studies import add_study_arguments, study_of
from searcher.findings import Verdict
from searcher.views.console import console, print_json
from searcher.views.doctor import doctor_view


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_study_arguments(parser)
    parser.add_argument("--fix", action="store_true", help="mend what can be mended")
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    add_storage_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Examine, mend where asked, and print."""
    from searcher.doctor import examine, mend  # optuna takes a quarter second to load: not for --help

    folder = study_of(args)
    findings = (mend if args.fix else examine)(folder, args.storage)
    healthy = all(finding.verdict is not Verdict.WRONG for finding in findings)
    if args.json:
        print_json(
            "doctor", {"study": str(folder.path), "healthy": healthy, "findings": [f.to_json() for f in findings]}
        )
    else:
        console().print(doctor_view(folder.path, findings))
    return 0 if healthy else 1
