"""Cost of one candidate, layer by layer: weights and MACs by bit width, memory, OPs, latency, shares.

The candidate is given by flags, or by a space file with --set for its variables.

Examples:
  searcher cost --hidden 3 --intermediate 3 --layers 'downsample*=fp16'
  searcher cost --preset tiny --precision fp32 --accounting complete
  searcher cost search_spaces/demo.yaml --set 'down*=fp16' --json
  searcher cost --hidden 3 --intermediate 3 --device avx512
"""

from __future__ import annotations

import argparse

from bhvit.cost import ACCOUNTINGS
from bhvit.device_profile import DeviceProfile
from bhvit.errors import InvalidInput, renamed
from bhvit.families import DEFAULT_FAMILY, FAMILIES, family_named, unknown_option
from bhvit.precision import PLANS, PrecisionPlan
from bhvit.wording import listed
from searcher.candidate import Candidate
from searcher.commands.arguments import add_profile_argument, add_settings, chosen, key_and_value, number
from searcher.device_profiles import device_from, device_id
from searcher.space import load_space
from searcher.views.console import console, print_json
from searcher.views.cost import cost_json, cost_view

MODEL_FLAGS = (
    "family",
    "preset",
    "image_size",
    "window_size",
    "classes",
    "hidden",
    "intermediate",
    "precision",
    "layers",
)

FLAG_OF = {"image_size": "--image-size", "window_size": "--window-size", "num_classes": "--classes"}  # of fields


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", nargs="?", metavar="FILE", help="space file; without it the flags below describe it")
    add_settings(parser)
    model = parser.add_argument_group("a candidate by flags")
    model.add_argument("--family", help=f"{listed(FAMILIES, 'or')} (default: {DEFAULT_FAMILY})")
    model.add_argument("--preset", metavar="NAME", help="a base architecture (default: its family's first)")
    model.add_argument("--image-size", type=int, metavar="PX", help="side of the images (default: the preset's)")
    model.add_argument(
        "--window-size", type=int, metavar="N", help="side of an attention window (default: what fits the image)"
    )
    model.add_argument("--classes", type=int, metavar="N", help="classes of the head (default: the preset's)")
    model.add_argument("--hidden", type=number, metavar="X", help="factor on the embedding widths (default: 1)")
    model.add_argument("--intermediate", type=number, metavar="X", help="factor on the MLP widths (default: 1)")
    model.add_argument(
        "--precision",
        metavar="NAME",
        help=f"of all layers, or a plan: {', '.join(PLANS)} (default: its family's first)",
    )
    model.add_argument("--layers", action="append", metavar="GLOB=NAME", help="precision of some layers; repeatable")
    parser.add_argument("--accounting", choices=ACCOUNTINGS, default="reported", help="what is counted")
    add_profile_argument(parser)
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the cost of the candidate."""
    candidate, device, label = _from_space(args) if args.file else (_from_flags(args), None, "")
    device = device_from(args.profile, "--device") or device
    report = candidate.cost(args.accounting, device)
    if args.json:
        print_json("cost", {**cost_json(candidate, report), "device": device and device_id(device)})
    else:
        console().print(cost_view(candidate, report, device, label))
    return 0


def _from_space(args: argparse.Namespace) -> tuple[Candidate, DeviceProfile | None, str]:
    """The candidate, the device that the space names, and which of its models the candidate is of, if several."""
    given = [name for name in MODEL_FLAGS if getattr(args, name) is not None]
    if given:
        raise InvalidInput(
            f"a candidate comes from a space file or from flags, but both {args.file} and "
            f"--{given[0].replace('_', '-')} are given; use --set for a variable of the space."
        )
    space = load_space(args.file)
    choices = chosen(space, args.settings)
    return space.candidate(choices), space.device, space.model_of(choices).label


def _from_flags(args: argparse.Namespace) -> Candidate:
    if args.settings:
        raise InvalidInput("--set needs a space file whose variables it sets, but none is given.")
    family = family_named(DEFAULT_FAMILY if args.family is None else args.family)
    preset = next(iter(family.presets)) if args.preset is None else args.preset
    base = family.preset(preset)
    given = {"image_size": args.image_size, "window_size": args.window_size, "num_classes": args.classes}
    options = {field: value for field, value in given.items() if value is not None}
    for field in options:
        if field not in base.option_names:
            flags = [flag for name, flag in FLAG_OF.items() if name in base.option_names]
            raise unknown_option(family, FLAG_OF[field], "flag", flags, FLAG_OF)
    factors = {"hidden": args.hidden, "intermediate": args.intermediate}
    with renamed(FLAG_OF):
        base = base.with_options(**options)
    architecture = base.scaled(**{key: value for key, value in factors.items() if value is not None})
    plan = PrecisionPlan.named(base.precisions[0] if args.precision is None else args.precision)
    for text in args.layers or ():
        plan = plan.with_layers(*key_and_value(text, "--layers", "GLOB=PRECISION"))
    return Candidate(family.name, architecture, plan)
