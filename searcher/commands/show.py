"""A study, finished or running: leaderboard, Pareto front, what the best have
in common, what accuracy depends on, where the trials went. Reads only.

Listed are the trained trials within the budget, best first. --budget looks
at the same trials under other limits, without training. --where and --sort
take fields (`--columns help` lists them), variables of the space, layers, and
globs over them: `downsample*==fp16` asks that of every layer that matches.

Examples:
  searcher show runs/demo
  searcher show demo --top 3 --sort ops,-accuracy
  searcher show demo --budget memory=0.5,ops=300M
  searcher show demo --where 'hidden>=2 and downsample*==fp16'
  searcher show demo --where 'memory<=0.2MiB and not stage3.*.mlp==binary'
  searcher show demo --all --where 'outcome==diverged' --columns trial,message
  searcher show demo-seed0 --seeds
  searcher show demo --json
  searcher show optuna.db --study lr-search
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from bhvit.errors import InvalidInput
from searcher.commands.arguments import changed_budget
from searcher.commands.optuna_study import add_name_argument, is_of_optuna, show_optuna
from searcher.commands.studies import add_study_arguments, study_of
from searcher.feasible import profile
from searcher.repeats import repeats_of
from searcher.snapshot import StudySnapshot, snapshot_of
from searcher.views.console import console, print_json
from searcher.views.leaderboard import column_names, columns_view
from searcher.views.study import TOP, StudyView, study_json, study_view


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_study_arguments(parser)
    add_name_argument(parser)
    parser.add_argument("--top", type=int, default=TOP, metavar="N", help=f"only the N first rows (default: {TOP})")
    parser.add_argument("--where", metavar="CONDITION", help="only trials that satisfy it: 'hidden>=2 and ops<3M'")
    parser.add_argument(
        "--sort", metavar="FIELDS", help="order, smallest first, or largest after a dash: ops,-accuracy"
    )
    parser.add_argument("--columns", metavar="NAMES", help="columns instead of those that fit; `help` lists them")
    parser.add_argument("--budget", metavar="LIMITS", help="other limits: memory=0.5,ops=300M; memory=none lifts one")
    parser.add_argument("--front", action="store_true", help="only the Pareto front")
    parser.add_argument("--all", action="store_true", help="also failed, waiting and over-budget trials")
    parser.add_argument("--seeds", action="store_true", help="mean and spread over studies of other seeds beside it")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the study; 1 where no trial is listed."""
    if args.top < 1:
        raise InvalidInput(f"--top must be at least 1, but it is {args.top}.")
    if is_of_optuna(args):
        return show_optuna(args)
    view = _asked_for(snapshot_of(study_of(args)), args)
    if args.columns == "help":
        console().print(columns_view(view.fields))
        return 0
    if args.columns is not None:
        view = replace(view, columns=column_names(args.columns, view.fields))
    listed = bool(view.rows)
    if args.json:
        print_json("show", study_json(view))
    else:
        console().print(study_view(view))
    return 0 if listed else 1


def _asked_for(snapshot: StudySnapshot, args: argparse.Namespace) -> StudyView:
    """What the arguments ask of the study."""
    if args.budget is not None:
        snapshot = snapshot.under(changed_budget(snapshot.space.file.budget, args.budget))
        snapshot = replace(snapshot, counted=profile(snapshot.space).feasible)
    return StudyView(
        snapshot,
        args.top,
        None,
        args.where,
        args.sort,
        args.all,
        args.front,
        repeats_of(snapshot) if args.seeds else None,
    )
