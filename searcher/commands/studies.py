"""Finding a study by what a user types."""

from __future__ import annotations

import argparse
from pathlib import Path

from bhvit.errors import InvalidInput
from searcher.records import TrialRecord
from searcher.study_folder import StudyFolder

RUNS = Path("runs")


def add_runs_argument(parser: argparse.ArgumentParser) -> None:
    """Declare `--runs DIR`."""
    parser.add_argument("--runs", type=Path, default=RUNS, metavar="DIR", help="folder of all studies (default: runs)")


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `STUDY` and `--runs DIR`; `study_of` finds what they mean."""
    parser.add_argument("study", metavar="STUDY", help="folder of the study, or its name in the folder of all studies")
    add_runs_argument(parser)


def study_of(args: argparse.Namespace) -> StudyFolder:
    """The study that the arguments name."""
    return study_named(args.study, args.runs)


def study_named(text: str, runs: Path = RUNS) -> StudyFolder:
    """The study folder at path `text`, or `runs/<text>`; raises `InvalidInput` listing the studies there are."""
    folder = found_study(text, runs)
    if folder is not None:
        return folder
    known = sorted(p.parent.name for p in runs.glob("*/space.yaml"))
    there = f"studies in {runs}: {', '.join(known)}" if known else f"there is no study in {runs} yet"
    raise InvalidInput(f"{text} must be the folder of a study, or its name in {runs}, but it is neither; {there}.")


def found_study(text: str, runs: Path = RUNS) -> StudyFolder | None:
    """The study that `text` names, by its path or by its name in `runs`; None where there is none."""
    folders = (StudyFolder(path) for path in (Path(text), runs / text))
    return next((folder for folder in folders if folder.space_file.exists()), None)


def trained_trial(folder: StudyFolder, command: str, number: int) -> TrialRecord:
    """The record of a trained trial; raises `InvalidInput` with those that there are for `command`."""
    records = {r.number: r for r in folder.records()}
    trained = [str(n) for n, r in records.items() if r.outcome.trained]
    if number not in records or not records[number].outcome.trained:
        state = f"ended as {records[number].outcome}" if number in records else "does not exist"
        raise InvalidInput(
            f"{command} takes a trained trial, but trial {number} {state}; trained: {', '.join(trained) or 'none yet'}."
        )
    return records[number]
