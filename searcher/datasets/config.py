"""The data sets by name, and the `data:` section of a space."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from bhvit.errors import InvalidInput, unknown_name
from searcher.datasets.cifar import list_cifar10, list_cifar100
from searcher.datasets.huggingface import list_huggingface
from searcher.datasets.image_folder import list_image_folder, list_trashnet_mini
from searcher.datasets.imagenette import FOLDERS, list_imagenette
from searcher.datasets.listing import Listing
from searcher.datasets.oxford_iiit_pet import list_oxford_iiit_pet


@dataclass(frozen=True)
class Option:
    """A key of `data:` that only some data sets have; without a default it must be given, unless it is `optional`."""

    default: str | None = None
    optional: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSource:
    """A data set: `list_images(root, download, **options)` finds its images.

    `needs_root` says whether a folder must be given, `about` what it is, in a few words.
    """

    name: str
    about: str
    list_images: Callable[..., Listing]
    needs_root: bool = True
    options: Mapping[str, Option] = field(default_factory=dict)


_HUB_OPTIONS = {
    "path": Option(),
    "image_key": Option("image"),
    "label_key": Option("label"),
    "train_split": Option("train"),
    "val_split": Option(optional=True),
    "test_split": Option("test"),
}
DATASETS: Mapping[str, DataSource] = MappingProxyType(
    {
        source.name: source
        for source in (
            DataSource("trashnet_mini", "waste, 6 classes, in the package", list_trashnet_mini, False),
            DataSource("oxford_iiit_pet", "pets, 37 breeds, 0.8 GB", list_oxford_iiit_pet),
            DataSource("cifar10", "32 px, 10 classes, 170 MB", list_cifar10),
            DataSource("cifar100", "32 px, 100 classes, 170 MB", list_cifar100),
            DataSource(
                "imagenette",
                "10 ImageNet classes, 0.1-1.6 GB",
                list_imagenette,
                options={"size": Option("320px", choices=tuple(FOLDERS))},
            ),
            DataSource("image_folder", "yours: train|val|test/<class>/", list_image_folder),
            DataSource("huggingface", "any of the Hugging Face hub", list_huggingface, options=_HUB_OPTIONS),
        )
    }
)


@dataclass(frozen=True)
class DataConfig:
    """Which images to train on, and how they are read.

    `root` is the folder of the images, relative to the working directory. `cache` keeps decoded images in memory
    where they fit (see `images.CACHE_BYTES`); `workers` are decoding processes, 0 for none; `download` allows fetching
    a public data set. The keys after it belong to some data sets (`DataSource.options`) and get their defaults here.
    Only `identity` influences results.
    """

    name: str
    root: str = ""
    cache: bool = True
    workers: int = 0
    download: bool = True
    size: str | None = None
    path: str | None = None
    image_key: str | None = None
    label_key: str | None = None
    train_split: str | None = None
    val_split: str | None = None
    test_split: str | None = None

    def __post_init__(self) -> None:
        if self.name not in DATASETS:
            raise unknown_name("data set", self.name, DATASETS)
        source = DATASETS[self.name]
        if source.needs_root and not self.root:
            raise InvalidInput(f"root must name the folder of data set {self.name}, but it is empty.")
        if self.workers < 0:
            raise InvalidInput(f"workers must be at least 0, but it is {self.workers}.")
        for key in sorted({key for other in DATASETS.values() for key in other.options}):
            self._settle(key, source.options.get(key))

    @property
    def options(self) -> dict[str, str | None]:
        """The keys that this data set has beyond those of all."""
        return {key: getattr(self, key) for key in DATASETS[self.name].options}

    @property
    def identity(self) -> dict[str, str | None]:
        """What says which images these are: another value is another question."""
        return {"name": self.name, "root": self.root, **self.options}

    def list_images(self) -> Listing:
        """The images of the data set; raises `MissingData` where they are absent."""
        return DATASETS[self.name].list_images(Path(self.root).expanduser(), self.download, **self.options)

    def _settle(self, key: str, option: Option | None) -> None:
        """Give `key` its default, or refuse its value."""
        value = getattr(self, key)
        if option is None:
            if value is not None:
                owners = ", ".join(name for name, source in DATASETS.items() if key in source.options)
                raise InvalidInput(f"{key} is a key of data set {owners}, but the data set is {self.name}; remove it.")
        elif value is None:
            if option.default is None and not option.optional:
                raise InvalidInput(f"{key} must be given for data set {self.name}.")
            object.__setattr__(self, key, option.default)
        elif not value:
            raise InvalidInput(f"{key} must not be empty; leave it out for its default.")
        elif option.choices and value not in option.choices:
            raise unknown_name(key, value, option.choices)
