"""The studies in a folder: state, trials, the best within the budget.

DIR is a folder of studies (default: runs), looked into one level deep, or one
study. Files of Optuna in it are listed too: other people's studies, with the
best of their feasible trials. A file or a URL names such a storage itself. It
is read without changing a byte, also while a search writes it.

Exit code 0: something is listed; 1: there is nothing to list.

Examples:
  searcher ls
  searcher ls runs --state running
  searcher ls runs --sort best --json
  searcher ls study.db
  searcher ls postgresql://me@server/studies
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bhvit.errors import InvalidInput
from searcher.commands.studies import RUNS
from searcher.inventory import StudyEntry, studies_in
from searcher.optuna_storage import FORMS, files_in, names_storage, storage_named
from searcher.optuna_studies import OptunaStudy
from searcher.snapshot import State
from searcher.views.console import console, print_json
from searcher.views.optuna import optuna_list, optuna_summary
from searcher.views.studies import studies_view

UNREADABLE = "unreadable"
STATES = (State.RUNNING.value, State.INTERRUPTED.value, State.EMPTY.value, State.DONE.value, UNREADABLE)
SORTS = ("age", "name", "best", "state")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "place", nargs="?", default=str(RUNS), metavar="DIR|URL", help="folder, file or URL (default: runs)"
    )
    parser.add_argument("--state", choices=STATES, help="only the studies in this state")
    parser.add_argument(
        "--sort", choices=SORTS, default="age", help="by age (newest first), name, best or state (default: age)"
    )
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    """List what there is."""
    entries, others, unread = _found(args.place)
    wanted = [e for e in entries if args.state in (None, _state(e))]
    wanted_others = [s for s in others if args.state in (None, _optuna_state(s))]
    wanted.sort(key=lambda e: _key(args.sort, e, _state(e), e.accuracy))
    wanted_others.sort(key=lambda s: _key(args.sort, s, _optuna_state(s), None))  # their values have no common scale
    if args.json:
        data = {
            "studies": [entry.to_json() for entry in wanted],
            "optuna_studies": [optuna_summary(study) for study in wanted_others],
            "unreadable_files": unread,
        }
        print_json("ls", data)
        return 0 if wanted or wanted_others else 1
    out = console()
    if wanted:
        out.print(studies_view(wanted, out.width))
    if wanted_others:
        out.print(*([""] if wanted else []), optuna_list(wanted_others, out.width), sep="\n")
    for message in unread:
        out.print(f"? {message}", style="yellow")
    if not (wanted or wanted_others):
        out.print(_nothing(args, bool(entries or others)))
        return 1
    return 0


def _found(place: str) -> tuple[list[StudyEntry], list[OptunaStudy], list[str]]:
    """Our studies, Optuna's, and what is wrong with files that cannot be read."""
    folder = Path(place)
    if names_storage(place):
        return [], storage_named(place).studies(), []
    if not folder.is_dir():
        if place == str(RUNS):
            return [], [], []
        raise InvalidInput(f"{place} must be a folder of studies, {FORMS}, but there is no such thing; correct it.")
    entries = studies_in(folder)
    others: list[OptunaStudy] = []
    unread: list[str] = []
    if all(entry.path != folder for entry in entries):  # the database in a study's folder only mirrors it
        for path in _optuna_files(folder, {entry.path for entry in entries}):
            try:
                others += storage_named(str(path)).studies()
            except InvalidInput as error:
                unread.append(str(error))
    return entries, others, unread


def _optuna_files(folder: Path, ours: set[Path]) -> list[Path]:
    below = sorted(p for p in folder.iterdir() if p.is_dir() and p not in ours and not p.name.startswith((".", "_")))
    return [path for place in (folder, *below) for path in files_in(place)]


def _state(entry: StudyEntry) -> str:
    return UNREADABLE if entry.state is None else entry.state.value


def _optuna_state(study: OptunaStudy) -> str:
    """The nearest of our words: Optuna does not say whether anybody is at work or what was planned."""
    if not study.trials:
        return State.EMPTY.value
    return State.RUNNING.value if "running" in study.counts else State.DONE.value


def _key(sort: str, study: StudyEntry | OptunaStudy, state: str, best: float | None) -> tuple[Any, ...]:
    """What to sort a study by: what was asked for, then the newest, then the name."""
    first: dict[str, tuple[Any, ...]] = {
        "age": (),
        "name": (study.name,),
        "best": (best is None, -(best or 0.0)),
        "state": (STATES.index(state),),
    }
    return (*first[sort], -(study.active or 0.0), study.name)


def _nothing(args: argparse.Namespace, any_state: bool) -> str:
    if any_state:
        return f"No study in {args.place} is {args.state}; without --state all are listed."
    start = "searcher search search_spaces/demo.yaml"
    return f"There is no study in {args.place} yet. Start one: {start}"
