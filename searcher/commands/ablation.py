"""The hidden-vs-intermediate ablation on the space's model, data and recipe: base, + intermediate, + hidden.

Each model is trained from the full-precision parent of its own widths, all layers at the space's default precision.
Continues where it was interrupted. --costs prints the cost columns alone and trains nothing.

Examples:
  searcher ablation search_spaces/demo.yaml --costs
  searcher ablation search_spaces/demo.yaml --hidden 2 --intermediate 2
  searcher ablation several_models.yaml --set model=tiny
"""

from __future__ import annotations

import argparse

from bhvit.errors import InvalidInput
from searcher.commands.arguments import number, space_of_model
from searcher.commands.running import add_run_arguments, exit_code, run_study
from searcher.derived import ablation
from searcher.space import load_space
from searcher.study_folder import StudyFolder
from searcher.views.ablation import ablation_rows, ablation_view
from searcher.views.console import console, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="space file")
    parser.add_argument("--hidden", type=number, default=3, metavar="X", help="factor of the hidden step (default: 3)")
    parser.add_argument(
        "--intermediate", type=number, default=3, metavar="X", help="factor of the intermediate step (default: 3)"
    )
    parser.add_argument("--costs", action="store_true", help="print the costs and what has finished, train nothing")
    parser.add_argument("--json", action="store_true", help="with --costs, the same as JSON")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="model=NAME",
        help="which model, where the space file lists several",
    )
    add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Train the three models and print the table."""
    whole, others, _ = space_of_model(load_space(args.file), args.settings)
    if others:
        raise InvalidInput(f"the ablation chooses the widths itself; --set names a model, but it is {others[0]!r}.")
    space = ablation(whole, args.hidden, args.intermediate)
    folder = StudyFolder(args.runs / (args.study or space.name))
    out = console()
    if args.costs:
        records = folder.records()
        if args.json:
            print_json("ablation", {"steps": ablation_rows(space, records)})
        else:
            out.print(ablation_view(space, records))
        return 0
    out.print(ablation_view(space, folder.records()))
    out.print()
    summary = run_study(space, folder.path, args.device, processes=args.processes)
    out.print(ablation_view(space, summary.records))
    return exit_code(summary)
