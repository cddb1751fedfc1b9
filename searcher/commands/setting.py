"""What a reproduction is trained on, from the command line: model, data, recipe, epochs, seeds."""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path

from bhvit.errors import InvalidInput
from searcher.datasets.config import DATASETS
from searcher.model_section import ModelSection
from searcher.outcomes import MissingData
from searcher.recipe import DataConfig, TrainingRecipe, recipe_from
from searcher.reproduction_runs import Setting, with_epochs
from searcher.reproductions import PUBLISHED_DATA, PUBLISHED_RECIPE, Row
from searcher.space import load_space
from searcher.statistics import MOST_SAMPLES
from searcher.yaml_file import YAML_SUFFIXES, read_yaml

PUBLISHED_CLASSES, PUBLISHED_TRAIN, PUBLISHED_VAL = 37, 3311, 369  # of its 3,680 images for training
DEFAULT_ROOT = "data"


def add_setting(parser: argparse.ArgumentParser) -> None:
    """Declare what all rows share."""
    group = parser.add_argument_group("setting (the defaults are the published one)")
    group.add_argument(
        "--data",
        default=PUBLISHED_DATA,
        metavar="NAME[:ROOT]|FILE",
        help=f"data set and its folder ({', '.join(DATASETS)}), or a space file whose data: section it is (default: "
        f"{PUBLISHED_DATA}:{DEFAULT_ROOT})",
    )
    group.add_argument(
        "--recipe",
        default=PUBLISHED_RECIPE,
        metavar="NAME|FILE",
        help="a shipped recipe, or a YAML file such as {base: pets, teacher: deit.safetensors, ...} (default: pets)",
    )
    group.add_argument(
        "--epochs", metavar="N|FP+QAT", help="epochs of each phase, such as 12+8 (default: the recipe's)"
    )
    group.add_argument("--seeds", default="3", metavar="N|LIST", help="how many, or which: 0,1,2 (default: 3)")
    model = group.add_mutually_exclusive_group()
    model.add_argument("--preset", metavar="NAME", help="base model: tiny or small, at 224 px (default: tiny)")
    model.add_argument("--model", metavar="FILE", help="a space file whose model: section is the base model")
    group.add_argument("--threads", type=int, metavar="N", help="threads of a CPU training (default: all cores)")


def setting_from(args: argparse.Namespace, *, fetch: bool) -> Setting:
    """The setting that the arguments mean; a public data set is downloaded only where `fetch` allows."""
    data = dataclasses.replace(data_from(args.data), download=fetch)
    recipe_name, recipe = _recipe(args.recipe)
    if args.epochs is not None:
        recipe = with_epochs(recipe, *epochs_from(args.epochs))
    classes = len(data.list_images().classes) if fetch or _there(data) else PUBLISHED_CLASSES
    model_name = "tiny" if args.preset is None else args.preset
    model = ModelSection(preset=model_name)
    if args.model is not None:
        model_name, model = Path(args.model).stem, load_space(args.model).only.section
    model = dataclasses.replace(model, classes=classes)
    return Setting(model_name, model, data, recipe_name, recipe, seeds_from(args.seeds), args.threads)


def image_counts(data: DataConfig) -> tuple[int, int]:
    """Training and validation images, of the published data set also where it is not on disk."""
    if not _there(data):
        return PUBLISHED_TRAIN, PUBLISHED_VAL
    listing = data.list_images()
    return len(listing.train), len(listing.val)


def is_there(data: DataConfig) -> bool:
    """Whether the data set is on disk."""
    try:
        data.list_images()
    except MissingData:
        return False
    return True


def data_from(text: str) -> DataConfig:
    """`NAME`, `NAME:ROOT` or a space file with a `data:` section.

    A data set that needs a root and is given none has it in `data`; `InvalidInput` for a root that means nothing.
    """
    if Path(text).suffix in YAML_SUFFIXES:
        data = load_space(text).data
        if data is None:
            raise InvalidInput(f"--data takes a space file with a data: section, but {text} has none; add it.")
        return data
    name, _, root = text.partition(":")
    if root and name in DATASETS and not DATASETS[name].needs_root:
        raise InvalidInput(f"--data {name} has no folder to choose, but {root!r} is given; use --data {name}.")
    if not root and name in DATASETS and DATASETS[name].needs_root:
        root = DEFAULT_ROOT
    return DataConfig(name, root)


def epochs_from(text: str) -> tuple[int, int]:
    """`12` for both phases or `12+8`; raises `InvalidInput`."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})(?:\+([1-9][0-9]{0,5}))?", text.strip())
    if match is None:
        raise InvalidInput(f"--epochs takes N or FP+QAT, such as 12 or 12+8, each at least 1, but it is {text!r}.")
    fp = int(match[1])
    return fp, fp if match[2] is None else int(match[2])


def seeds_from(text: str) -> tuple[int, ...]:
    """`3` for the seeds 0, 1 and 2, or a list such as `0,1,2` (`4,` is the one seed 4); raises `InvalidInput`."""
    parts = [part.strip() for part in text.removesuffix(",").split(",")]
    if not all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
        raise InvalidInput(
            f"--seeds takes a count up to {MOST_SAMPLES} such as 3, or a list such as 0,1,2, but it is {text!r}."
        )
    seeds = tuple(map(int, parts)) if "," in text else tuple(range(min(int(text), MOST_SAMPLES + 1)))
    if not 1 <= len(seeds) <= MOST_SAMPLES or len(set(seeds)) < len(seeds):
        raise InvalidInput(f"--seeds takes 1 to {MOST_SAMPLES} distinct seeds, but it is {text!r}; use for example 3.")
    return seeds


def rows_from(text: str | None, rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The rows that `--rows` names by number (from 1) or key, in the table's order; all of them without it."""
    if text is None:
        return rows
    names = {name: row for i, row in enumerate(rows, 1) for name in (str(i), row.key)}
    chosen = [part.strip() for part in text.split(",")]
    for part in chosen:
        if part not in names:
            listed = ", ".join(f"{i} {row.key}" for i, row in enumerate(rows, 1))
            raise InvalidInput(f"--rows takes numbers or keys of rows, but {part!r} is none; the rows are {listed}.")
    wanted = {names[part].key for part in chosen}
    return tuple(row for row in rows if row.key in wanted)


def _there(data: DataConfig) -> bool:
    """Like `is_there`, but an absent data set is an error unless its size is known to us."""
    if is_there(data):
        return True
    if data.name != PUBLISHED_DATA:
        data.list_images()  # raises
    return False


def _recipe(text: str) -> tuple[str, TrainingRecipe]:
    path = Path(text)
    if path.suffix in YAML_SUFFIXES:
        return path.stem, recipe_from(read_yaml(path), str(path))
    return text, recipe_from(text)
