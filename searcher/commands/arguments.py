"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import math
from typing import Any

from bhvit.errors import InvalidInput
from searcher.space import Space
from searcher.yaml_file import parse_yaml


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Declare `--set VARIABLE=VALUE`."""
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="VARIABLE=VALUE",
        help="value of a variable of the space (hidden=2, 'downsample*=fp16'); repeatable",
    )


def chosen(space: Space, settings: list[str]) -> dict[str, Any]:
    """Complete choices from `--set` values; variables left out get width 1 or the default precision."""
    point: dict[str, Any] = {}
    for text in settings:
        key, value = key_and_value(text, "--set", "VARIABLE=VALUE")
        if key in point:
            raise InvalidInput(f"--set takes each variable once, but {key!r} is given twice; remove one.")
        point[key] = parse_yaml(value, f"--set {key}")
    return space.complete(point, "--set")


def key_and_value(text: str, flag: str, form: str) -> tuple[str, str]:
    """`text` split at its first equals sign."""
    key, sign, value = text.partition("=")
    if not (key and sign and value):
        raise InvalidInput(f"{flag} takes {form}, but it is {text!r}.")
    return key.strip(), value.strip()


def number(text: str) -> float:
    """A positive number of the command line, whole where it is whole."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"must be a positive number, but it is {text!r}")
    return int(value) if value.is_integer() else value
