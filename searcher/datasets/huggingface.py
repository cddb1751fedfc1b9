"""Data sets of the Hugging Face hub, or of any folder that `datasets.load_dataset` takes, through timm's reader."""

from __future__ import annotations

import functools
import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from bhvit.errors import InvalidInput
from searcher.datasets.listing import Listing, image_list, stratified
from searcher.datasets.sources import images_of
from searcher.outcomes import MissingData

INSTALL = 'pip install "bhvit-searcher[hf]"'


@dataclass(frozen=True)
class HubImages:
    """The images of one split of a hub data set, decoded by whoever reads them."""

    split: str
    digest: str
    reader: Any = field(compare=False, repr=False)

    def content(self, index: int) -> BinaryIO:
        """The encoded image as an open file."""
        file: BinaryIO = self.reader[index][0]
        return file


def list_huggingface(
    root: Path,
    download: bool,
    path: str,
    image_key: str,
    label_key: str,
    train_split: str,
    val_split: str | None,
    test_split: str,
) -> Listing:
    """The data set `path` with `root` as its cache; without `val_split` a stratified tenth of the train split is `val`.

    Images and labels are the columns `image_key` and `label_key`; a split is what load_dataset takes, slices such as
    `train[:80%]` included. Labels are class labels with names, texts or whole numbers. Without `download`,
    HF_DATASETS_OFFLINE is set, which counts from the first import of `datasets`; code from the hub is never run.
    Raises `InvalidInput` where the package or a column is absent, `MissingData` where the data set is.
    """
    if not download:
        os.environ["HF_DATASETS_OFFLINE"] = "1"
    _require_package()
    splits = (train_split, *((val_split,) if val_split else ()), test_split)
    if len(set(splits)) < len(splits):
        raise InvalidInput(f"the splits of data set huggingface must differ, but they are {', '.join(splits)}.")
    return _listed(root, path, image_key, label_key, splits)


@functools.lru_cache(maxsize=1)  # the hub is asked once a process
def _listed(root: Path, path: str, image_key: str, label_key: str, splits: tuple[str, ...]) -> Listing:
    readers = {split: _reader(root, path, split, image_key, label_key) for split in splits}
    labels = {split: _labels(reader, path, split, label_key) for split, reader in readers.items()}
    classes = _classes(readers[splits[0]], labels[splits[0]])
    lists = [
        image_list(
            images_of(
                HubImages(split, reader.dataset._fingerprint, reader),
                _indices(labels[split], list(classes), path, split),
            )
        )
        for split, reader in readers.items()
    ]
    if len(lists) == 2:
        lists[:1] = stratified(lists[0])
    return Listing(f"huggingface {path}", tuple(classes.values()), *lists)


def _require_package() -> None:
    try:
        import datasets
    except ImportError as error:
        raise InvalidInput(f"data set huggingface needs the package datasets, but it is absent: {INSTALL}") from error
    if not hasattr(datasets, "load_dataset"):  # a folder of that name in the working directory
        raise InvalidInput(
            f"data set huggingface needs the package datasets, but {list(datasets.__path__)} hides it or it is absent; "
            f"rename that folder, or {INSTALL}"
        )


def _reader(root: Path, path: str, split: str, image_key: str, label_key: str) -> Any:
    from timm.data.readers.reader_factory import create_reader

    try:
        return create_reader(f"hfds/{path}", root=str(root), split=split, input_key=image_key, target_key=label_key)
    except Exception as error:  # of a library with exceptions of its own
        reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
        raise MissingData(
            f"data set huggingface expects {path} with a split {split} and a column {image_key} on the hub or in its "
            f"cache {root}, but loading it failed ({reason}); correct data.path, train_split, val_split, test_split, "
            f"image_key or data.root, or get it with: {_command(root, path)}"
        ) from error


def _command(root: Path, path: str) -> str:
    arguments = f"{json.dumps(path, ensure_ascii=False)}, cache_dir={json.dumps(str(root), ensure_ascii=False)}"
    return f"python -c {shlex.quote(f'from datasets import load_dataset; load_dataset({arguments})')}"


def _labels(reader: Any, path: str, split: str, label_key: str) -> list[Any]:
    table = reader.dataset
    if label_key not in table.column_names:
        raise InvalidInput(
            f"label_key must be a column of {path}, but it is {label_key!r}; its columns are "
            f"{', '.join(table.column_names)}."
        )
    values = list(table[label_key])
    kinds = {type(value) for value in values}
    if kinds not in ({int}, {str}):
        raise InvalidInput(
            f"the labels of {path} must be whole numbers or texts, but column {label_key} of split {split} holds "
            f"{', '.join(sorted(kind.__name__ for kind in kinds)) or 'nothing'}; choose another label_key or split."
        )
    return values


def _classes(reader: Any, labels: Sequence[Any]) -> dict[Any, str]:
    """Label -> name, in the order of the classes: the data set's class labels, else the values in training, sorted."""
    if reader.class_to_idx:
        return {index: name for name, index in sorted(reader.class_to_idx.items(), key=lambda item: item[1])}
    return {label: str(label) for label in sorted(set(labels))}


def _indices(labels: Sequence[Any], classes: Sequence[Any], path: str, split: str) -> list[int]:
    """The place of every label among the classes."""
    places = {label: place for place, label in enumerate(classes)}
    strangers = sorted({str(label) for label in labels if label not in places})
    if strangers:
        raise InvalidInput(
            f"the labels of {path} must be classes of its training split, but split {split} also has "
            f"{', '.join(strangers[:5])} (-1 stands for no label); choose another split."
        )
    return [places[label] for label in labels]
