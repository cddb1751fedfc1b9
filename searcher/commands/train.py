"""Train one given candidate: a space file, with --set for its variables where it has more than one configuration.

The candidate is trained whatever it costs, to its last epoch, from the full-precision parent of its own widths.
Of a space of several models the study is of the candidate's model alone. Continues where it was interrupted.

Examples:
  searcher train search_spaces/demo.yaml --set hidden=2 --set 'down*=fp16'
  searcher train one_candidate.yaml --device cuda
"""

from __future__ import annotations

import argparse

from bhvit.errors import InvalidInput
from searcher.commands.arguments import add_settings, chosen
from searcher.commands.running import add_run_arguments, exit_code, run_study
from searcher.derived import single
from searcher.space import Space, load_space
from searcher.study_folder import StudyFolder
from searcher.views.candidate import candidate_text
from searcher.views.console import console
from searcher.views.cost import footer
from searcher.views.study import ended_view


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="space file")
    add_settings(parser)
    add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Train the candidate and print its result."""
    whole = load_space(args.file)
    if whole.size > 1 and not args.settings:
        raise InvalidInput(
            f"train takes one candidate, but {args.file} has {whole.size} configurations; choose with --set "
            f"VARIABLE=VALUE, its variables are {', '.join(v.name for v in whole.variables)}."
        )
    choices = chosen(whole, args.settings)
    space = single(whole, choices)
    folder = StudyFolder(args.runs / (args.study or space.name))
    out = console()
    _announce(space, whole.model_of(choices).label)
    summary = run_study(space, folder.path, args.device, processes=args.processes)
    out.print(ended_view(folder, space, summary.records))
    return exit_code(summary)


def _announce(space: Space, label: str) -> None:
    """The candidate, of several models that with this `label`, and its cost."""
    candidate = space.candidate(space.enqueued[0])
    report = space.cost_of(candidate)
    console().print(candidate_text(candidate, label), *footer(candidate, report, space.device), "", sep="\n")
