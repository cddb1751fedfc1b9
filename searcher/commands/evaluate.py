"""Accuracy of a trial on the test split, once: the result is kept, a second call prints the kept one.

The search itself never reads the test split. fp16 layers are rounded to half precision, as they are deployed.

Examples:
  searcher evaluate runs/demo 3
  searcher evaluate demo 3 --json
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from searcher.commands.arguments import trial_number
from searcher.commands.studies import add_study_arguments, study_of, trained_trial
from searcher.commands.testing import evaluated_once
from searcher.records import TrialRecord
from searcher.views.console import console, print_json, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_study_arguments(parser)
    parser.add_argument("trial", metavar="TRIAL", type=trial_number, help="number of the trial")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Evaluate the trial's best weights, or recall what they scored."""
    folder = study_of(args)
    record = trained_trial(folder, "evaluate", args.trial)
    evaluation, known = evaluated_once(folder, record, args.device)
    result = dataclasses.asdict(evaluation)
    if args.json:
        print_json("evaluate", result)
    else:
        _show(record, result, known)
    return 0


def _show(record: TrialRecord, result: dict[str, Any], known: bool) -> None:
    out = console()
    again = " (read earlier, kept)" if known else ""
    out.print(f"trial {record.number}: test Top-1 {100 * result['accuracy']:.1f} %, {result['images']} images{again}")
    assert record.metrics is not None
    out.print(f"validation Top-1 was {100 * record.metrics.accuracy:.1f} %; loss on test {result['loss']:.3f}\n")
    classes = table("class", ("images", "right"), ("Top-1 %", "right"))
    for row in result["per_class"]:
        classes.add_row(row["name"], str(row["images"]), f"{100 * row['accuracy']:.1f}")
    out.print(classes)
