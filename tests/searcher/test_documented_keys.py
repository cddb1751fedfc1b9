"""`docs/space_files.md` has every key that a family's configuration has, with its default, and the sizes it takes."""

from __future__ import annotations

import dataclasses
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bhvit import FAMILIES, PRECISIONS, Family
from searcher.model_section import KEY_OF, LARGEST, LISTS, ModelSection
from tests.searcher.architectures import refused

PAGE = Path("docs/space_files.md").read_text(encoding="utf-8")
of_every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


def table(heading: str) -> list[list[str]]:
    """Cells of the rows of the page's table with this heading."""
    lines = PAGE[PAGE.index(heading) :].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def quoted(cell: str) -> list[str]:
    """What stands in backquotes in a cell."""
    return re.findall(r"`([^`]*)`", cell)


FAMILY_ROWS = {quoted(name)[0]: cells for name, *cells in table("| `model.family` | presets |")}
KEY_ROWS = {quoted(key)[0]: cells for key, *cells in table("| key of `model` | families |")}


def written(value: object) -> str:
    """A value as YAML has it."""
    return value if isinstance(value, str) else json.dumps(value)


def model(family: Family, **keys: Any) -> ModelSection:
    """A family's first preset with other `keys`."""
    return ModelSection(family.name, next(iter(family.presets)), **keys)


def test_the_tables_are_those_of_the_families() -> None:
    assert list(FAMILY_ROWS) == list(FAMILIES)
    keys = {key for family in FAMILIES.values() for key in model(family).to_plain()}
    assert set(KEY_ROWS) == keys - {"family", "preset", *LISTS}


@of_every_family
def test_a_family_is_described(family: Family) -> None:
    presets, stages, _, norms, precisions = FAMILY_ROWS[family.name]
    assert quoted(presets) == list(family.presets)
    assert int(stages) == family.config.stage_count
    assert quoted(norms) == list(family.config.norms)
    assert (quoted(precisions) or list(PRECISIONS)) == list(family.config.precisions)
    assert quoted(precisions) or precisions == "all"


@of_every_family
def test_a_family_takes_the_image_sizes_that_are_said(family: Family) -> None:
    unit = int(FAMILY_ROWS[family.name][2].removeprefix("multiples of "))
    sizes = [n for n in range(1, 8 * unit) if not refused(partial(model, family, image_size=n))]
    assert sizes == list(range(unit, 8 * unit, unit))


FIELDS = [(family, field) for family in FAMILIES.values() for field in dataclasses.fields(family.config)[1:]]


@pytest.mark.parametrize(("family", "field"), FIELDS, ids=[f"{family.name}-{field.name}" for family, field in FIELDS])
def test_a_key_is_named_with_its_families_and_default(family: Family, field: dataclasses.Field) -> None:
    key = KEY_OF.get(field.name, field.name)
    families, default, _ = KEY_ROWS[key]
    having = [f.name for f in FAMILIES.values() if field.name in {g.name for g in dataclasses.fields(f.config)}]
    assert quoted(families) == ([] if having == list(FAMILIES) else having)
    if field.name not in family.config.options_at(224):
        assert default == f"`{written(field.default)}`"
        return
    *choices, unit = map(int, re.findall(r"\d+", default))  # the largest of these that divides image_size / unit
    for size in range(unit, 20 * unit, unit):
        largest = max(choice for choice in choices if size // unit % choice == 0)
        assert family.config.options_at(size)[field.name] == largest


OF_ALL = [field for field in dataclasses.fields(ModelSection) if field.name in KEY_ROWS]


@pytest.mark.parametrize("field", OF_ALL, ids=lambda field: field.name)
def test_keys_of_all_families_have_the_defaults_of_the_page(field: dataclasses.Field) -> None:
    families, default, rule = KEY_ROWS[field.name]
    assert families == "all"
    assert field.default is None or default == f"`{field.default}`"
    if field.name == "image_size":
        assert f"at most {LARGEST['image_size']}" in rule
    if field.name == "recu":
        released = {f.name for f in FAMILIES.values() if f.config.released_with_recu}
        assert set(quoted(default)) == {"true", "false", *released}
