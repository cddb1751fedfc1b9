"""The data sets by name, and the `data:` section of a space."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from bhvit.errors import InvalidInput, unknown_name
from searcher.datasets.image_folder import list_image_folder, list_trashnet_mini
from searcher.datasets.listing import Listing
from searcher.datasets.oxford_iiit_pet import list_oxford_iiit_pet


@dataclass(frozen=True)
class DataSource:
    """A data set: `list_images(root, download)` finds its files; `needs_root` says whether a folder must be given."""

    name: str
    list_images: Callable[[Path, bool], Listing]
    needs_root: bool


DATASETS: Mapping[str, DataSource] = MappingProxyType(
    {
        source.name: source
        for source in (
            DataSource("trashnet_mini", list_trashnet_mini, needs_root=False),
            DataSource("oxford_iiit_pet", list_oxford_iiit_pet, needs_root=True),
            DataSource("image_folder", list_image_folder, needs_root=True),
        )
    }
)


@dataclass(frozen=True)
class DataConfig:
    """Which images to train on, and how they are read.

    `root` is the folder of the images, relative to the working directory. `cache` keeps decoded images in memory
    where they fit (see `images.CACHE_BYTES`); `workers` are decoding processes, 0 for none; `download` allows fetching
    a public data set. Only `name` and `root` influence results.
    """

    name: str
    root: str = ""
    cache: bool = True
    workers: int = 0
    download: bool = True

    def __post_init__(self) -> None:
        if self.name not in DATASETS:
            raise unknown_name("data set", self.name, DATASETS)
        if DATASETS[self.name].needs_root and not self.root:
            raise InvalidInput(f"root must name the folder of data set {self.name}, but it is empty.")
        if self.workers < 0:
            raise InvalidInput(f"workers must be at least 0, but it is {self.workers}.")

    def list_images(self) -> Listing:
        """The files of the data set; raises `MissingData` where they are absent."""
        return DATASETS[self.name].list_images(Path(self.root).expanduser(), self.download)
