"""Data sets: what is known, or the splits, classes and images of one, fetched where it is absent and public.

Without an argument the known data sets are listed. The data set is that of a space file, or one by name with --root and
--set for the other keys of `data:`. The digest names the validation images: equal digests, equal validation sets.

Examples:
  searcher data
  searcher data search_spaces/pets_tiny.yaml
  searcher data imagenette --root data --set size=160px
  searcher data cifar10 --set download=false --json
"""

from __future__ import annotations

import argparse

from bhvit.errors import InvalidInput, unknown_name
from searcher.commands.arguments import key_and_value
from searcher.datasets.config import DATASETS, DataConfig
from searcher.schema import from_mapping
from searcher.space import load_space
from searcher.views.console import console, print_json
from searcher.views.data import describe, listing_view, sources_json, sources_view
from searcher.yaml_file import parse_yaml

DEFAULT_ROOT = "data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("data", nargs="?", metavar="FILE|NAME", help="space file, or name of a data set")
    parser.add_argument("--root", metavar="DIR", help=f"folder of a data set given by name (default: {DEFAULT_ROOT})")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another key of data: (size=160px, path=user/set, download=false); repeatable",
    )
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the known data sets, or one of them."""
    if args.data is None:
        _refuse_flags(args, "no data set is named")
        print_json("data", {"sources": sources_json()}) if args.json else console().print(sources_view())
        return 0
    config = _config(args)
    found = describe(config, config.list_images())
    print_json("data", found) if args.json else console().print(listing_view(found))
    return 0


def _config(args: argparse.Namespace) -> DataConfig:
    if args.data in DATASETS:
        settings = dict(key_and_value(text, "--set", "KEY=VALUE") for text in args.settings)
        fallback = DEFAULT_ROOT if DATASETS[args.data].needs_root else ""
        root = fallback if args.root is None else args.root
        values = {key: parse_yaml(value, f"--set {key}") for key, value in settings.items()}
        return from_mapping(DataConfig, {"name": args.data, "root": root, **values}, "data")
    if not args.data.endswith((".yaml", ".yml")):
        raise unknown_name("space file (.yaml) or data set", args.data, DATASETS)
    _refuse_flags(args, f"{args.data} says which data it is")
    space = load_space(args.data)
    if space.data is None:
        raise InvalidInput(f"{args.data} must have a section data:, but it has none; add it.")
    return space.data


def _refuse_flags(args: argparse.Namespace, why: str) -> None:
    if args.root is not None or args.settings:
        raise InvalidInput(f"--root and --set belong to the name of a data set, but {why}; remove them.")
