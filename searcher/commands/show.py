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
  searcher show demo --device rpi5 --sort latency
  searcher show demo --where 'hidden>=2 and downsample*==fp16'
  searcher show demo --where 'memory<=0.2MiB and not stage3.*.mlp==binary'
  searcher show demo --all --where 'outcome==diverged' --columns trial,message
  searcher show demo-seed0 --seeds
  searcher show demo --json
  searcher show optuna.db --study lr-search
"""

from __future__ import annotations

import argparse

from searcher.commands.optuna_study import add_name_argument, is_of_optuna, show_optuna
from searcher.commands.selecting import add_row_arguments, lists_columns, view_of
from searcher.commands.studies import add_study_arguments, study_of
from searcher.repeats import repeats_of
from searcher.snapshot import snapshot_of
from searcher.views.console import console, print_json
from searcher.views.leaderboard import columns_view
from searcher.views.study import TOP, study_json, study_view


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_study_arguments(parser)
    add_name_argument(parser)
    add_row_arguments(parser, TOP)
    parser.add_argument("--seeds", action="store_true", help="mean and spread over studies of other seeds beside it")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the study; 1 where no trial is listed."""
    if is_of_optuna(args):
        return show_optuna(args)
    snapshot = snapshot_of(study_of(args))
    view = view_of(snapshot, args, repeats_of(snapshot) if args.seeds else None)
    if lists_columns(args, args.json):
        console().print(columns_view(view.fields))
        return 0
    listed = bool(view.rows)
    if args.json:
        print_json("show", study_json(view))
    else:
        console().print(study_view(view))
    return 0 if listed else 1
