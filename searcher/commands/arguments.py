"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from typing import Any

from bhvit.device_file import shipped_devices
from bhvit.errors import InvalidInput, unknown_name
from bhvit.wording import listed
from searcher.budget import BudgetSection
from searcher.derived import of_model
from searcher.device_profiles import device_from
from searcher.model_space import MODEL
from searcher.quantities import QUANTITIES
from searcher.schema import from_mapping
from searcher.space import Space
from searcher.variables import Choice
from searcher.yaml_file import parse_yaml

DEVICE = "device"  # beside the quantities of `--budget`


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


def add_storage_argument(parser: argparse.ArgumentParser) -> None:
    """Declare `--storage URL`."""
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="PostgreSQL database that mirrors the study, such as postgresql://user:password@host/name (default: where "
        "it was mirrored before; for a new study $SEARCHER_STORAGE, else study.db in its folder); see docs/storage.md",
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


def space_of_model(space: Space, settings: list[str]) -> tuple[Space, list[str], dict[str, Choice]]:
    """The space of the model that `--set model=LABEL` chooses, the other settings, and that choice.

    A space of one model is returned as it is, with no choice.
    """
    asked = [text for text in settings if text.partition("=")[0].strip() == MODEL]
    if not space.mixed and not asked:
        return space, settings, {}
    if not asked:
        raise InvalidInput(
            f"this needs one model, but {space.name} chooses among {listed(space.labels)}; add --set "
            f"{MODEL}={space.labels[0]}, or another of them."
        )
    model = chosen(space, asked)[MODEL]  # an error where there is only one to choose
    return of_model(space, str(model)), [text for text in settings if text not in asked], {MODEL: model}


def changed_budget(section: BudgetSection, text: str) -> BudgetSection:
    """`section` with the limits in `text`, such as `memory=0.5,ops=300M`; `memory=none` lifts one.

    `device=avx512` names the device that latencies are predicted for.
    """
    given: dict[str, Any] = {}
    for part in text.split(","):
        name, value = key_and_value(part.strip(), "--budget", "memory=LIMIT,ops=LIMIT,latency=LIMIT")
        if name not in (*QUANTITIES, DEVICE):
            raise unknown_name("quantity in --budget", name, (*QUANTITIES, DEVICE))
        if name in given:
            raise InvalidInput(f"--budget takes each quantity once, but {name} is given twice; remove one.")
        given[name] = None if value == "none" else parse_yaml(value, f"--budget {name}")
    if DEVICE in given:
        given[DEVICE] = device_from(given[DEVICE], "--budget device")
    return from_mapping(BudgetSection, {**vars(section), **given}, "--budget")


def within_budget(space: Space, text: str | None) -> Space:
    """`space` with the limits in `text` (`changed_budget`); itself without."""
    if text is None:
        return space
    return Space(space.name, replace(space.file, budget=changed_budget(space.file.budget, text)))


def add_budget_argument(parser: argparse.ArgumentParser) -> None:
    """Declare `--budget LIMITS`."""
    parser.add_argument(
        "--budget",
        metavar="LIMITS",
        help="other limits than the space file's: memory=0.5,ops=300M (shares of its relative_to, or amounts); "
        "memory=none lifts one; latency=30ms,device=avx512 limits what is predicted for a device",
    )


def option_of(name: str) -> str:
    """The option that sets argument `name`."""
    return "--device" if name == "profile" else f"--{name}"


def add_profile_argument(parser: argparse.ArgumentParser) -> None:
    """Declare `--device NAME` of the commands that do not train."""
    parser.add_argument(
        "--device",
        dest="profile",  # elsewhere --device is where torch trains
        metavar="NAME",
        help=f"predict latencies for it: {', '.join(shipped_devices())}, or the path of a profile",
    )


def key_and_value(text: str, flag: str, form: str) -> tuple[str, str]:
    """`text` split at its first equals sign."""
    key, sign, value = text.partition("=")
    if not (key and sign and value):
        raise InvalidInput(f"{flag} takes {form}, but it is {text!r}.")
    return key.strip(), value.strip()


def trial_number(text: str) -> int:
    """The number of a trial."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"must be the number of a trial, such as 0 or 12, but it is {text!r}")
    return int(text)


def count(text: str) -> int:
    """A whole number of the command line, at least 1."""
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, but it is {text!r}")
    return int(text)


def number(text: str) -> float:
    """A positive number of the command line, whole where it is whole."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"must be a positive number, but it is {text!r}")
    return int(value) if value.is_integer() else value
