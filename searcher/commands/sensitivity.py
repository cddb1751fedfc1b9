"""What quantizing each layer alone costs: measured on a trained full-precision parent, without training.

The parent is that of the widths chosen with --set (without it, width 1 where the space offers it; --set model=NAME
where it has several models). It is trained first if no study has trained it yet, in runs/_warm_starts, where studies
find it. Then one layer after the other becomes binary, and takes every other precision that the space offers it, while
all others stay fp32; so do all layers of each variable of the space together. Quantizer scales and batch norm's
statistics are taken from a few training images; loss and accuracy are those on validation images. Measurements are kept
beside the parent: nothing is measured twice, and an interrupted command goes on.

--budget asks for the configuration to train first within other limits. Layers whose precision the space does not choose
are marked as fixed.

What phase 2 makes up for is not seen here: take the order of the layers, not the amounts.

Examples:
  searcher sensitivity search_spaces/demo.yaml
  searcher sensitivity search_spaces/demo.yaml --set hidden=2 --batches 8
  searcher sensitivity search_spaces/demo.yaml --budget memory=0.3
  searcher sensitivity search_spaces/demo.yaml --json
"""

from __future__ import annotations

import argparse

from bhvit.errors import InvalidInput
from searcher.candidate import Candidate
from searcher.checkpoint_files import WARM_STARTS
from searcher.commands.arguments import add_budget_argument, add_settings, chosen, space_of_model, within_budget
from searcher.commands.running import check_device
from searcher.commands.studies import add_runs_argument
from searcher.feasible import feasible_set
from searcher.outcomes import Diverged, OutOfMemory
from searcher.preflight import check_trainable
from searcher.records import EpochRecord
from searcher.sensitivity import Sensitivity, most_promising, parts_of, prior_of
from searcher.space import Space, load_space
from searcher.views.console import console, print_json
from searcher.views.sensitivity import sensitivity_json, sensitivity_view
from searcher.views.training import LiveTraining

BATCHES = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="space file")
    add_settings(parser)
    add_budget_argument(parser)
    parser.add_argument(
        "--batches",
        type=int,
        default=BATCHES,
        metavar="N",
        help=f"measure with up to N batches of 128 training and as many of validation images (default: {BATCHES})",
    )
    add_runs_argument(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Train the parent where it is absent, measure what has not been measured, print the table."""
    if args.batches < 1:
        raise InvalidInput(f"--batches must be at least 1, but it is {args.batches}.")
    whole = within_budget(load_space(args.file), args.budget)
    space, settings, model = space_of_model(whole, args.settings)
    choices = chosen(space, settings)
    candidate = space.candidate(choices)
    check_trainable(space)
    check_device(args.device, space.search.processes)
    try:
        sensitivity = _measured(space, candidate, args)
    except KeyboardInterrupt:
        console(error=args.json).print("Interrupted; nothing is lost, the same command goes on.", style="bold")
        return 130
    except (Diverged, OutOfMemory) as error:
        raise InvalidInput(f"the parent must be trained and measured, but {error}") from error
    first = most_promising(space, feasible_set(space), prior_of(space, sensitivity), choices)
    first = None if first is None else {**model, **first}
    if args.json:
        print_json("sensitivity", sensitivity_json(space, candidate, sensitivity, first))
    else:
        console().print(sensitivity_view(space, candidate, sensitivity, first))
    return 0


def _measured(space: Space, candidate: Candidate, args: argparse.Namespace) -> Sensitivity:
    from searcher.candidate_training import CandidateTraining  # torch takes seconds to load: only when it is needed
    from searcher.devices import device_of_rank
    from searcher.pipeline import trained_parent
    from searcher.processes import ProcessDied
    from searcher.sensitivity_measurement import measured

    recipe, data = space.training
    search, out, parts = space.search, console(error=args.json), parts_of(space)
    device = device_of_rank(args.device, 0, search.processes)
    training = CandidateTraining(candidate, recipe, data, search.seed, device)
    with LiveTraining(out, recipe.fp.epochs) as live:

        def report(record: EpochRecord) -> bool:
            live.on_epoch(record)
            return False

        try:
            parent = trained_parent(
                training,
                args.runs / WARM_STARTS,
                device=args.device,
                threads=search.threads,
                processes=search.processes,
                report=report,
                progress=live.on_step,
            )
        except ProcessDied as error:
            raise InvalidInput(f"the parent must be trained, but {error}; the same command goes on.") from error
    with LiveTraining(out, len(parts) + 1, unit="measurement") as live:
        return measured(training, parent, parts, args.batches, live.on_step)
