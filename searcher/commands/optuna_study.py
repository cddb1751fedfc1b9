"""Showing a study of Optuna that is not ours: shared by the commands that take a study."""

from __future__ import annotations

import argparse

from bhvit.errors import InvalidInput
from searcher.commands.arguments import option_of
from searcher.commands.studies import found_study
from searcher.optuna_storage import names_storage, storage_named
from searcher.optuna_studies import study_among
from searcher.views.console import console, print_json
from searcher.views.optuna import optuna_json, optuna_view

FOR_OUR_STUDIES = ("where", "sort", "columns", "budget", "profile", "front", "all", "seeds")  # options of `show`


def add_name_argument(parser: argparse.ArgumentParser) -> None:
    """Declare `--study NAME`."""
    parser.add_argument(
        "--study",
        dest="study_name",
        metavar="NAME",
        help="which one, where STUDY is a file or URL with several studies of Optuna",
    )


def is_of_optuna(args: argparse.Namespace) -> bool:
    """Whether the arguments name a storage of Optuna's; raises `InvalidInput` for a name within anything else."""
    if names_storage(args.study) and found_study(args.study, args.runs) is None:
        return True
    if args.study_name is not None:
        raise InvalidInput(
            f"--study chooses among the studies in a file or URL of Optuna's, but {args.study} is none; leave it out."
        )
    return False


def show_optuna(args: argparse.Namespace) -> int:
    """Print one study of Optuna's: its feasible trials, best first (`--study`, `--top`, `--json`)."""
    storage = storage_named(args.study)
    given = [name for name in FOR_OUR_STUDIES if getattr(args, name, None)]
    if given:
        option = option_of(given[0])
        raise InvalidInput(f"{option} is for studies of searcher, but {storage} holds Optuna's; leave it out.")
    study = study_among(storage.studies(), args.study_name, str(storage))
    (study,) = storage.studies(study.name, params=True)
    if args.json:
        print_json("show", optuna_json(study))
    else:
        out = console()
        out.print(optuna_view(study, args.top, out.width))
    return 0
