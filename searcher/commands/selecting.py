"""Which trials of a study, under which budget, in which order and with which columns: options of several views."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from bhvit.errors import InvalidInput
from searcher.commands.arguments import changed_budget
from searcher.listing import ordered, selected
from searcher.records import TrialRecord
from searcher.snapshot import StudySnapshot, snapshot_of
from searcher.study_folder import StudyFolder
from searcher.trial_fields import TrialFields


def add_selection_arguments(parser: argparse.ArgumentParser, top: int | None) -> None:
    """Declare `--budget`, `--where`, `--sort` and `--top` (default: `top`; None is all)."""
    group = parser.add_argument_group("which trials (docs/terminal.md)")
    group.add_argument(
        "--budget",
        metavar="LIMITS",
        help="look at the trials under other limits, training nothing: memory=0.5,ops=300M (memory=none lifts one)",
    )
    group.add_argument("--where", metavar="CONDITION", help="such as 'hidden>=2 and downsample*==fp16'")
    group.add_argument("--sort", metavar="FIELDS", help="such as memory or ops,-accuracy (- is largest first)")
    shown = "all" if top is None else str(top)
    group.add_argument("--top", type=int, default=top, metavar="N", help=f"only the first N (default: {shown})")


@dataclass(frozen=True)
class Selection:
    """A study looked at under the budget that was asked for, its fields, and the trials chosen, in order.

    `found` counts those that satisfy the condition, `records` are the first `top` of them.
    """

    snapshot: StudySnapshot
    fields: TrialFields
    records: list[TrialRecord]
    found: int


def selection_of(folder: StudyFolder, args: argparse.Namespace, everything: bool = False) -> Selection:
    """What the options choose among the trained trials within the budget, or among `everything`."""
    if args.top is not None and args.top < 1:
        raise InvalidInput(f"--top must be at least 1, but it is {args.top}.")
    snapshot = snapshot_of(folder)
    if args.budget is not None:
        snapshot = snapshot.under(changed_budget(snapshot.space.file.budget, args.budget))
    fields = TrialFields(snapshot.space)
    found = ordered(selected(snapshot, fields, args.where, everything), fields, args.sort)
    return Selection(snapshot, fields, found[: args.top], len(found))
