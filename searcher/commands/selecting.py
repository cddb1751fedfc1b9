"""Which trials of a study, under which budget and in which order: options that several views share."""

from __future__ import annotations

import argparse
from dataclasses import replace

from bhvit.errors import InvalidInput
from searcher.commands.arguments import add_budget_argument, add_profile_argument, changed_budget, count
from searcher.device_profiles import device_from
from searcher.feasible import profile
from searcher.repeats import Repeats
from searcher.snapshot import StudySnapshot
from searcher.views.leaderboard import column_names
from searcher.views.study import StudyView

LISTED = "help"  # asks --columns for its names


def add_where_argument(parser: argparse.ArgumentParser) -> None:
    """Declare `--where CONDITION`."""
    parser.add_argument("--where", metavar="CONDITION", help="only trials that satisfy it: 'hidden>=2 and ops<3M'")


def add_row_arguments(parser: argparse.ArgumentParser, top: int | None) -> None:
    """Declare which trials are the rows of a table, in which order, and its columns."""
    add_budget_argument(parser)
    add_profile_argument(parser)
    add_where_argument(parser)
    parser.add_argument("--all", action="store_true", help="also failed, waiting and over-budget trials")
    parser.add_argument("--front", action="store_true", help="only the Pareto front")
    parser.add_argument("--sort", metavar="FIELDS", help="smallest first, or largest after a dash: ops,-accuracy")
    parser.add_argument(
        "--top", type=count, default=top, metavar="N", help=f"only the N first rows (default: {top or 'all'})"
    )
    parser.add_argument("--columns", metavar="NAMES", help="columns instead of those that fit; `help` lists them")


def lists_columns(args: argparse.Namespace, for_programs: bool) -> bool:
    """Whether `--columns help` asks for their names, which are printed for people, not `for_programs`."""
    if args.columns == LISTED and for_programs:
        raise InvalidInput("--columns help is a list for people, but another form is asked for; leave that out.")
    return bool(args.columns == LISTED)


def sliced(snapshot: StudySnapshot, args: argparse.Namespace, trial: int | None = None) -> StudySnapshot:
    """The study under the budget that `--budget` asks for, seen by the device of `--device`.

    Where `trial` is all that is looked at, the device need not know the others.
    """
    seen = _sliced(snapshot, args)
    models = seen.space.models if trial is None else [seen.space.model_of(seen.trial(trial).choices)]
    seen.space.check_latencies(models)
    return seen


def _sliced(snapshot: StudySnapshot, args: argparse.Namespace) -> StudySnapshot:
    seen = _on_device(snapshot, args.profile)
    if args.budget is None:
        return seen
    budget = changed_budget(seen.space.file.budget, args.budget)
    if args.profile is not None and budget.device != seen.space.device:
        raise InvalidInput(
            f"--budget and --device must name one device, but they are {args.budget} and {args.profile}; "
            "leave one of the two devices out."
        )
    return seen.under(budget)


def on_device(snapshot: StudySnapshot, name: str | None) -> StudySnapshot:
    """The study with latencies predicted for the device called `name`; as it is for None."""
    seen = _on_device(snapshot, name)
    seen.space.check_latencies(seen.space.models)
    return seen


def _on_device(snapshot: StudySnapshot, name: str | None) -> StudySnapshot:
    device = device_from(name, "--device")
    return snapshot if device is None else snapshot.on_device(device)


def view_of(snapshot: StudySnapshot, args: argparse.Namespace, repeats: Repeats | None = None) -> StudyView:
    """What the arguments of `add_row_arguments` ask of a study; `columns` are None where they are not asked for."""
    snapshot = sliced(snapshot, args)
    if snapshot.resliced:
        snapshot = replace(snapshot, counted=profile(snapshot.space))
    view = StudyView(snapshot, args.top, None, args.where, args.sort, args.all, args.front, repeats)
    if args.columns in (None, LISTED):
        return view
    return replace(view, columns=column_names(args.columns, view.fields))
