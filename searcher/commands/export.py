"""Trials for other programs and for papers, or one trial as a space file.

Without --trial: the leaderboard (trained trials within the budget, best
first), or all trials, as CSV (default), JSON, Markdown or LaTeX (booktabs).
CSV and JSON hold plain values: accuracies and shares in 0..1, bytes, OPs,
seconds. With --trial: a space file that trains exactly that candidate again,
by `searcher train FILE`.

Examples:
  searcher export runs/demo > demo.csv
  searcher export demo --all --json --out demo.json
  searcher export demo --md --top 10 --columns trial,hidden,accuracy,memory
  searcher export demo --latex --where 'downsample*==fp16' --out table.tex
  searcher export demo --trial 4 --out winner.yaml
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bhvit.errors import InvalidInput
from searcher.commands.arguments import trial_number
from searcher.commands.selecting import LISTED, add_row_arguments, view_of
from searcher.commands.studies import add_study_arguments, study_of
from searcher.derived import alone
from searcher.files import require_writable, write_text
from searcher.numbers import count_text, size_text
from searcher.snapshot import snapshot_of
from searcher.study_folder import StudyFolder
from searcher.trial_fields import TrialFields
from searcher.views.candidate import precision_text, widths_text
from searcher.views.console import console
from searcher.views.leaderboard import columns_view, leaderboard
from searcher.views.trial_exports import FORMATS, TrialRows

FOR_PROGRAMS = ("csv", "json")
RESULTS = ("accuracy", "parent_accuracy", "final_accuracy", "best_epoch", "memory", "ops", "memory_share", "ops_share")
HISTORY = ("seconds", "attempts", "restarts", "worker", "message")
PRINTED = ("place", "trial", "hidden", "intermediate", "precision", "accuracy", "parent_accuracy", "memory", "ops")
_HELP = {"csv": "comma-separated values (default)", "md": "Markdown", "json": "JSON", "latex": "LaTeX, booktabs"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_study_arguments(parser)
    forms = parser.add_mutually_exclusive_group()
    for name in FORMATS:
        forms.add_argument(f"--{name}", dest="format", action="store_const", const=name, help=_HELP[name])
    forms.add_argument("--trial", type=trial_number, metavar="N", help="trial N as a space file that trains exactly it")
    add_row_arguments(parser, top=None)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of printing")


def run(args: argparse.Namespace) -> int:
    """Print the export, or write it to a file."""
    if args.out is not None:
        require_writable(args.out)
    if args.trial is not None:
        _refuse_rows(args)
    folder = study_of(args)
    if args.columns == LISTED:
        console().print(columns_view(TrialFields(folder.space())))
        return 0
    text = _rows(folder, args) if args.trial is None else _space_file(folder, args.trial)
    if args.out is None:
        print(text, end="")
    else:
        write_text(args.out, text)
        console(error=True).print(f"Written to {args.out}.")
    return 0


def _refuse_rows(args: argparse.Namespace) -> None:
    """Raise `InvalidInput` for options about rows beside `--trial`."""
    for name in ("budget", "where", "all", "front", "sort", "top", "columns"):
        if getattr(args, name):
            raise InvalidInput(f"--trial writes a space file, for which --{name} has no meaning; leave it out.")


def _rows(folder: StudyFolder, args: argparse.Namespace) -> str:
    name = args.format or "csv"
    view = view_of(snapshot_of(folder), args)
    board = leaderboard(view.snapshot, view.fields, view.rows[: view.top])
    columns = view.columns
    if columns is None and name in FOR_PROGRAMS:
        columns = ["trial", "id", "outcome", *(v.name for v in view.snapshot.space.variables), *RESULTS, *HISTORY]
    return TrialRows(board, columns or PRINTED).in_format(name)


def _space_file(folder: StudyFolder, number: int) -> str:
    """The trial's candidate as the only one of a space, which says in comments where it comes from."""
    space, records = folder.space(), {record.number: record for record in folder.records()}
    if number not in records:
        there = f"its trials are 0 to {max(records)}" if records else "it has none yet"
        raise InvalidInput(f"--trial must be a trial of {folder.path}, but {number} is none; {there}.")
    record = records[number]
    cost = f"{size_text(record.memory_bytes)}, {count_text(record.ops)} OPs ({space.budget.accounting} accounting)"
    accuracy = (
        "" if record.metrics is None else f"; Top-1 {100 * record.metrics.accuracy:.1f} % on the validation split"
    )
    study = folder.path.resolve().name
    comments = (
        f"Trial {number} of {study} ({record.outcome}{accuracy}), candidate {record.candidate.id}.",
        f"{widths_text(record.candidate)}; {precision_text(record.candidate.layers)}.",
        f"{cost}. Train it: searcher train THIS_FILE",
    )
    return "".join(f"# {line}\n" for line in comments) + alone(space, record.candidate).to_yaml()
