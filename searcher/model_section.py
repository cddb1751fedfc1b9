"""`model:` of a space file: a family's preset or lists, and the options of that family."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bhvit.errors import InvalidInput, renamed
from bhvit.families import DEFAULT_FAMILY, Family, family_named, unknown_option
from bhvit.staged import WRITTEN, Architecture
from bhvit.wording import listed
from searcher.schema import convert, from_mapping

LISTS = ("embed_dims", "intermediate_dims", "depths", "num_heads")
LARGEST = {"image_size": 4096, "classes": 10**6}
LARGEST_DIM, LARGEST_DEPTH = 2**16, 64
KEY_OF = {**WRITTEN, "num_classes": "classes"}  # field of a configuration -> its key in a file, where that is another
_OWN_FIELDS = ("stages", "image_size", "num_classes")  # those that are no options of a family


@dataclass(frozen=True)
class ModelSection:
    """A preset, or four lists with one entry a stage; raises `InvalidInput` where the family does not allow the values.

    `options` are the further fields of the family's configuration, by their keys in a file; None, or leaving one out,
    means the family's default (which may follow from the image size, `Architecture.options_at`). `norm` defaults to
    the family's first, `recu` to what its released training does.
    """

    family: str = DEFAULT_FAMILY
    preset: str | None = None
    embed_dims: tuple[int, ...] | None = None
    intermediate_dims: tuple[int, ...] | None = None
    depths: tuple[int, ...] | None = None
    num_heads: tuple[int, ...] | None = None
    image_size: int = 224
    classes: int = 37
    norm: str = None  # type: ignore[assignment]  # set by __post_init__
    recu: bool = None  # type: ignore[assignment]  # likewise
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        family = family_named(self.family)
        given = [name for name in LISTS if getattr(self, name) is not None]
        if self.preset is None and len(given) < len(LISTS):
            raise InvalidInput(f"give a preset, or all of {listed(LISTS)}; given are {listed(given) or 'none'}.")
        if self.preset is not None and given:
            raise InvalidInput(f"give either a preset or lists, but preset and {given[0]} are both given; remove one.")
        for name in LISTS:
            _at_most(name, LARGEST_DEPTH if name == "depths" else LARGEST_DIM, *(getattr(self, name) or ()))
        for name, largest in LARGEST.items():
            _at_most(name, largest, getattr(self, name))
        if self.norm is None:
            object.__setattr__(self, "norm", family.config.norms[0])
        object.__setattr__(self, "recu", family.config.recu_of(self.recu))
        object.__setattr__(self, "options", dict.fromkeys(_options(family)) | dict(self.options))
        self.architecture().require_norm(self.norm)

    def architecture(self) -> Architecture:
        """The base architecture."""
        family = family_named(self.family)
        sizes = {"image_size": self.image_size, "num_classes": self.classes}
        given = {name: self.options[key] for key, name in _options(family).items() if self.options[key] is not None}
        with renamed(KEY_OF):
            options = family.config.options_at(self.image_size) | given | sizes
            if self.preset is None:
                return family.config.from_lists(*(getattr(self, name) for name in LISTS), **options)
            return family.preset(self.preset).with_options(**options)

    @classmethod
    def written_out(cls, family: str, architecture: Architecture, norm: str, recu: bool) -> ModelSection:
        """The section of an architecture of the family, its widths and options written out."""
        options = {key: getattr(architecture, name) for key, name in _options(family_named(family)).items()}
        lists = {name: getattr(architecture, name) for name in LISTS}
        return cls(
            family,
            **lists,
            image_size=architecture.image_size,
            classes=architecture.num_classes,
            norm=norm,
            recu=recu,
            options=options,
        )

    def to_plain(self) -> dict[str, Any]:
        """The keys of a file, options among the others."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "options"}
        return values | dict(self.options)


def model_from(data: object, where: str, beside: Sequence[str] = ()) -> ModelSection:
    """The section from plain data, read strictly; raises `InvalidInput` naming the place in the file.

    `beside` are further keys that may stand there and were read already, for messages.
    """
    if isinstance(data, ModelSection):
        return data
    if not isinstance(data, Mapping):
        raise InvalidInput(f"{where} must be a mapping of keys to values, but it is {data!r}.")
    family = _family_of(data, where)
    names, hints = _options(family), typing.get_type_hints(family.config)
    own = [f.name for f in dataclasses.fields(ModelSection) if f.name != "options"]
    for key in data:
        if key not in own and key not in names:
            raise unknown_option(family, key, f"key in {where}:", (*beside, *own, *names), KEY_OF)
    options = {
        key: None if data[key] is None else convert(hints[name], data[key], f"{where}.{key}")
        for key, name in names.items()
        if key in data
    }
    own_values = {key: value for key, value in data.items() if key not in names}
    return from_mapping(ModelSection, {**own_values, "options": options}, where)


def with_default_precision(precision: object, model: ModelSection) -> object:
    """`precision:` as it stands in a file, with the family's first precision as its default where it has none."""
    default = family_named(model.family).config.precisions[0]
    return {"default": default, **precision} if isinstance(precision, Mapping) else precision


def _family_of(data: Mapping[Any, Any], where: str) -> Family:
    name = data.get("family", ModelSection.family)
    try:
        return family_named(convert(str, name, f"{where}.family"))
    except InvalidInput as error:
        text = str(error)
        raise InvalidInput(text if text.startswith(where) else f"{where}: {text}") from error


def _options(family: Family) -> dict[str, str]:
    """Key in a file -> field of the configuration, of the family's own options."""
    names = [f.name for f in dataclasses.fields(family.config) if f.name not in _OWN_FIELDS]  # type: ignore[arg-type]
    return {KEY_OF.get(name, name): name for name in names}


def _at_most(name: str, largest: int, *values: int) -> None:
    for value in values:
        if value > largest:
            raise InvalidInput(f"{name} must be at most {largest}, but it is {value}.")
