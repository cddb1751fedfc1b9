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
from pathlib import Path

from bhvit.errors import InvalidInput
from searcher.charts.chart import Figure
from searcher.charts.kinds import KINDS, Request, figure_of
from searcher.commands.arguments import add_budget_argument, add_profile_argument, count, trial_number
from searcher.commands.selecting import add_where_argument, sliced
from searcher.commands.studies import add_study_arguments, study_of
from searcher.quantities import QUANTITIES
from searcher.snapshot import StudySnapshot, snapshot_of
from searcher.trial_fields import TrialFields
from searcher.views.chart_output import check_output, write_figure
from searcher.views.console import console, print_json
from searcher.views.figure import figure_json, figure_view
from searcher.views.study import lifted_view
from searcher.where import condition


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_study_arguments(parser)
    about = "; ".join(f"{kind}: {what}" for kind, what in KINDS.items())
    parser.add_argument(
        "--kind", choices=tuple(KINDS), default="front", metavar="KIND", help=f"{about} (default: front)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a file: .png, .svg or .html")
    parser.add_argument(
        "--x", choices=tuple(QUANTITIES), help="front: against this alone (default: all that are known)"
    )
    parser.add_argument(
        "--top", type=count, metavar="N", help="curves: the N best (default: 5); map, parallel: how many are the best"
    )
    parser.add_argument(
        "--trial", type=trial_number, action="append", metavar="N", help="curves: of trial N; repeatable"
    )
    add_budget_argument(parser)
    add_profile_argument(parser)
    add_where_argument(parser)
    parser.add_argument("--json", action="store_true", help="the data of the chart as JSON")


def run(args: argparse.Namespace) -> int:
    """Draw the study."""
    request = Request(args.kind, args.x, args.top, None if args.trial is None else tuple(args.trial))
    if args.trial is not None and args.where is not None:
        raise InvalidInput("--trial and --where both say which trials are drawn; leave one out.")
    if args.out is not None:
        check_output(args.out)
    whole = snapshot_of(study_of(args))
    snapshot = _asked_for(whole, args)
    figure = figure_of(snapshot, request)
    if whole.records and not snapshot.records:
        figure = Figure(args.kind, "", nothing=f"no trial satisfies --where {args.where!r}")
    written = "" if args.out is None or figure.nothing else write_figure(snapshot, figure, args.out)
    if args.json:
        print_json("plot", figure_json(snapshot, figure))
    elif figure.nothing:
        print(f"{snapshot.folder.path}: nothing to draw: {figure.nothing}.")
    elif written:
        print(written)
    else:
        console().print(figure_view(snapshot, figure), *lifted_view(snapshot), sep="\n")
    return 1 if figure.nothing else 0


def _asked_for(snapshot: StudySnapshot, args: argparse.Namespace) -> StudySnapshot:
    """The study under `--budget`, with the trials of `--where` alone."""
    snapshot = sliced(snapshot, args)
    if args.where is not None:
        holds = condition(args.where, TrialFields(snapshot.space))
        snapshot = dataclasses.replace(snapshot, records=tuple(filter(holds, snapshot.records)))
    return snapshot
