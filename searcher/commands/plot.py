"""Draw a study in the terminal, or into a PNG, SVG or HTML file. Reads only.

Kinds: front (the default), history, importance, parallel, curves, map, budget.
An HTML file is one page that needs nothing else: the drawing, what each point
is where the pointer rests on it, and the data as a table.

Examples:
  searcher plot runs/demo
  searcher plot runs/demo --kind front --x memory --budget memory=0.5
  searcher plot runs/demo --kind curves --trial 4 --trial 7
  searcher plot runs/demo --kind parallel --where 'hidden>=2' --top 10
  searcher plot runs/demo --kind map --out map.svg
  searcher plot runs/demo --kind history --json
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from searcher.budget import QUANTITIES
from searcher.charts.kinds import KINDS, Request, figure_of
from searcher.commands.arguments import changed_budget
from searcher.commands.studies import add_study_arguments, study_of
from searcher.snapshot import StudySnapshot, snapshot_of
from searcher.trial_fields import TrialFields
from searcher.views.chart_output import check_output, write_figure
from searcher.views.console import console, print_json
from searcher.views.figure import figure_json, figure_view
from searcher.where import condition

PIPE_WIDTH = 100  # columns of a drawing that is not on a terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_study_arguments(parser)
    about = "; ".join(f"{kind}: {what}" for kind, what in KINDS.items())
    parser.add_argument(
        "--kind", choices=tuple(KINDS), default="front", metavar="KIND", help=f"{about} (default: front)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a file: .png, .svg or .html")
    parser.add_argument("--x", choices=QUANTITIES, help="front: against this alone (default: both)")
    parser.add_argument(
        "--top", type=int, metavar="N", help="curves: the N best (default: 5); map, parallel: how many are the best"
    )
    parser.add_argument("--trial", type=int, action="append", metavar="N", help="curves: of trial N; repeatable")
    parser.add_argument(
        "--budget", metavar="LIMITS", help="look at the trials under another budget, such as memory=0.5,ops=300M"
    )
    parser.add_argument("--where", metavar="CONDITION", help="only trials such as 'hidden>=2 and downsample*==fp16'")
    parser.add_argument("--json", action="store_true", help="the data of the chart as JSON")


def run(args: argparse.Namespace) -> int:
    """Draw the study."""
    request = Request(args.kind, args.x, args.top, None if args.trial is None else tuple(args.trial))
    if args.out is not None:
        check_output(args.out)
    snapshot = _asked_for(snapshot_of(study_of(args)), args)
    figure = figure_of(snapshot, request)
    if args.json:
        print_json("plot", figure_json(snapshot, figure))
    if figure.nothing:
        if not args.json:
            print(f"{snapshot.folder.path}: nothing to draw: {figure.nothing}.")
        return 1
    if args.out is not None:
        done = write_figure(snapshot, figure, args.out)
        if not args.json:
            print(done)
    elif not args.json:
        console().print(figure_view(snapshot, figure, None if sys.stdout.isatty() else PIPE_WIDTH))
    return 0


def _asked_for(snapshot: StudySnapshot, args: argparse.Namespace) -> StudySnapshot:
    """The study under `--budget`, with the trials of `--where` alone."""
    if args.budget is not None:
        snapshot = snapshot.under(changed_budget(snapshot.space.file.budget, args.budget))
    if args.where is not None:
        holds = condition(args.where, TrialFields(snapshot.space))
        snapshot = dataclasses.replace(snapshot, records=tuple(filter(holds, snapshot.records)))
    return snapshot
