"""Cost of one candidate, layer by layer: weights and MACs by bit width, memory, OPs, share.

The candidate is given by flags, or by a space file with --set for its variables.

examples:
  searcher cost --preset tiny --hidden 3 --intermediate 3 --layers 'downsample*=fp16'
  searcher cost --preset tiny --precision fp32 --accounting complete
  searcher cost search_spaces/demo.yaml --set hidden=2 --set 'downsample*=fp16' --json
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from bhvit.architecture import PRESETS
from bhvit.cost import ACCOUNTINGS
from bhvit.errors import InvalidInput, unknown_name
from bhvit.precision import PrecisionPlan
from searcher.candidate import Candidate
from searcher.commands.arguments import add_settings, chosen, key_and_value, number
from searcher.space import load_space
from searcher.views.console import console, print_json
from searcher.views.cost import cost_json, cost_view

MODEL_FLAGS = ("preset", "image_size", "window_size", "classes", "hidden", "intermediate", "precision", "layers")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", nargs="?", metavar="FILE", help="space file; without it the flags below describe it")
    add_settings(parser)
    model = parser.add_argument_group("a candidate by flags")
    model.add_argument("--preset", help=f"{' or '.join(PRESETS)} (default: tiny)")
    model.add_argument("--image-size", type=int, metavar="PX", help="side of the images (default: the preset's)")
    model.add_argument("--window-size", type=int, metavar="N", help="side of an attention window (default: preset's)")
    model.add_argument("--classes", type=int, metavar="N", help="classes of the head (default: the preset's)")
    model.add_argument("--hidden", type=number, metavar="X", help="factor on the embedding widths (default: 1)")
    model.add_argument("--intermediate", type=number, metavar="X", help="factor on the MLP widths (default: 1)")
    model.add_argument("--precision", metavar="NAME", help="precision of all layers (default: binary)")
    model.add_argument("--layers", action="append", metavar="GLOB=NAME", help="precision of some layers; repeatable")
    parser.add_argument("--accounting", choices=ACCOUNTINGS, default="reported", help="what is counted")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the cost of the candidate."""
    candidate = _from_space(args) if args.file else _from_flags(args)
    report = candidate.cost(args.accounting)
    if args.json:
        print_json(cost_json(candidate, report))
    else:
        console().print(cost_view(candidate, report))
    return 0


def _from_space(args: argparse.Namespace) -> Candidate:
    given = [name for name in MODEL_FLAGS if getattr(args, name) is not None]
    if given:
        raise InvalidInput(
            f"a candidate comes from a space file or from flags, but both {args.file} and "
            f"--{given[0].replace('_', '-')} are given; use --set for a variable of the space."
        )
    space = load_space(args.file)
    return space.candidate(chosen(space, args.settings))


def _from_flags(args: argparse.Namespace) -> Candidate:
    if args.settings:
        raise InvalidInput("--set needs a space file whose variables it sets, but none is given.")
    preset = args.preset or "tiny"
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    base = PRESETS[preset]
    architecture = replace(
        base,
        image_size=args.image_size or base.image_size,
        window_size=args.window_size or base.window_size,
        num_classes=args.classes or base.num_classes,
    ).scaled(args.hidden or 1, args.intermediate or 1)
    plan = PrecisionPlan.uniform(args.precision or "binary")
    for text in args.layers or ():
        plan = plan.with_layers(*key_and_value(text, "--layers", "GLOB=PRECISION"))
    return Candidate("bhvit", architecture, plan)
