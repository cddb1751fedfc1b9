"""Trials for other programs and for papers, or one trial as a space file.

Without --trial: the leaderboard (trained trials within the budget, best
first), or all trials, as CSV (default), JSON, Markdown or LaTeX (booktabs);
the suffix of --out says which (.csv, .json, .md, .tex).
CSV and JSON hold plain values: accuracies and shares in 0..1, bytes, OPs,
seconds. With --trial: a space file that trains exactly that candidate again,
by `searcher train FILE`.

Examples:
  searcher export runs/demo > demo.csv
  searcher export demo --all --out demo.json
  searcher export demo --md --top 10 --columns trial,hidden,accuracy,memory
  searcher export demo --where 'downsample*==fp16' --out table.tex
  searcher export demo --trial 4 --out winner.yaml
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bhvit.errors import InvalidInput
from bhvit.wording import counted
from searcher.commands.arguments import option_of, trial_number
from searcher.commands.selecting import add_row_arguments, lists_columns, view_of
from searcher.commands.studies import add_study_arguments, study_of
from searcher.derived import alone
from searcher.files import put_out, require_writable
from searcher.model_space import MODEL
from searcher.quantities import costs_text
from searcher.snapshot import StudySnapshot, snapshot_of
from searcher.space import Space
from searcher.trial_fields import TrialFields
from searcher.views.candidate import candidate_text
from searcher.views.console import console
from searcher.views.leaderboard import columns_view, leaderboard
from searcher.views.trial_exports import FORMATS, TrialRows

FOR_PROGRAMS = ("csv", "json")
RESULTS = ("accuracy", "parent_accuracy", "final_accuracy", "best_epoch", "memory", "ops", "memory_share", "ops_share")
HISTORY = ("seconds", "attempts", "restarts", "worker", "message")
PRINTED = (
    *("place", "trial", MODEL, "hidden", "intermediate", "precision"),
    *("accuracy", "parent_accuracy", "memory", "ops"),
)
SPACE = "space"
SUFFIXES = {".csv": "csv", ".json": "json", ".md": "md", ".tex": "latex", ".yaml": SPACE, ".yml": SPACE}
_HELP = {"csv": "comma-separated values (default)", "md": "Markdown", "json": "JSON", "latex": "LaTeX, booktabs"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_study_arguments(parser)
    forms = parser.add_mutually_exclusive_group()
    for name in FORMATS:
        forms.add_argument(f"--{name}", dest="format", action="store_const", const=name, help=_HELP[name])
    forms.add_argument("--trial", type=trial_number, metavar="N", help="trial N as a space file that trains exactly it")
    add_row_arguments(parser, top=None)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there; its suffix says in which form")


def run(args: argparse.Namespace) -> int:
    """Print the export, or write it to a file; 1 where there is no trial in it."""
    form = _form(args)
    if args.out is not None:
        require_writable(args.out)
    if args.trial is not None:
        _refuse_rows(args)
    folder = study_of(args)
    if lists_columns(args, args.format is not None):
        console().print(columns_view(TrialFields(folder.space())))
        return 0
    snapshot = snapshot_of(folder)
    name = folder.path.resolve().name
    if args.trial is not None:
        text, count, what = _space_file(snapshot, args.trial), 1, f"trial {args.trial} of {name}"
    else:
        rows = _rows(snapshot, args, form)
        text, count = rows.in_format(form), len(rows.board.records)
        what = f"{counted(count, 'trial')} of {name}"
    if args.out is None:
        print(text, end="")
    else:
        print(put_out(args.out, text.encode(), what))
    return 0 if count else 1


def _form(args: argparse.Namespace) -> str:
    """The form that an option or the suffix of `--out` asks for; raises `InvalidInput` where they disagree."""
    asked = SPACE if args.trial is not None else args.format
    if args.out is None:
        return asked or "csv"
    found = SUFFIXES.get(args.out.suffix.lower())
    if asked is None and found is None:
        raise InvalidInput(f"--out must end in {', '.join(SUFFIXES)}, but it is {str(args.out)!r}; rename it.")
    if asked is None and found == SPACE:
        raise InvalidInput(f"a space file is of one trial, but --out is {str(args.out)!r}; add --trial N.")
    if asked is not None and found not in (None, asked):
        option = "--trial" if asked == SPACE else f"--{asked}"
        suffix = next(s for s, form in SUFFIXES.items() if form == asked)
        raise InvalidInput(f"{option} writes {suffix} files, but --out is {str(args.out)!r}; rename it.")
    return asked or str(found)


def _refuse_rows(args: argparse.Namespace) -> None:
    """Raise `InvalidInput` for options about rows beside `--trial`."""
    for name in ("budget", "profile", "where", "all", "front", "sort", "top", "columns"):
        if getattr(args, name):
            option = option_of(name)
            raise InvalidInput(f"--trial writes a space file, for which {option} has no meaning; leave it out.")


def _rows(snapshot: StudySnapshot, args: argparse.Namespace, form: str) -> TrialRows:
    view = view_of(snapshot, args)
    board = leaderboard(view.snapshot, view.fields, view.shown)
    columns, space = view.columns, view.snapshot.space
    if columns is None and form in FOR_PROGRAMS:
        columns = ["trial", "id", "outcome", *(v.name for v in space.variables), *_with_latency(RESULTS, space)]
        columns += HISTORY
    printed = [name for name in PRINTED if space.mixed or name != MODEL]
    return TrialRows(board, columns or _with_latency(printed, space))


def _with_latency(names: Sequence[str], space: Space) -> list[str]:
    """The columns, with those of the latency after OPs where a device is known."""
    known = () if space.device is None else (("ops", "latency"), ("ops_share", "latency_share"))
    after = dict(known)
    return [column for name in names for column in (name, after.get(name)) if column]


def _space_file(snapshot: StudySnapshot, number: int) -> str:
    """The trial's candidate as the only one of a space, which says in comments where it comes from."""
    name, space, record = snapshot.folder.path.resolve().name, snapshot.space, snapshot.trial(number)
    cost = f"{costs_text(record)} ({space.budget.accounting} accounting)"
    accuracy = (
        "" if record.metrics is None else f"; Top-1 {100 * record.metrics.accuracy:.1f} % on the validation split"
    )
    comments = (
        f"Trial {number} of {name} ({record.outcome}{accuracy}), candidate {record.candidate.id}.",
        f"{candidate_text(record.candidate, space.model_of(record.choices).label)}.",
        f"{cost}. Train it: searcher train THIS_FILE",
    )
    return "".join(f"# {line}\n" for line in comments) + alone(space, record.candidate).to_yaml()
