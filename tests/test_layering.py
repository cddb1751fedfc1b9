"""What is imported where: torch and optuna by few, a model family by nobody but `bhvit`.

The torch-free modules are imported in a fresh interpreter; that nothing names a family is seen from the source.
"""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bhvit.families import FAMILIES
from bhvit.staged import Architecture
from searcher.cli import GROUPS

ROOT = Path(__file__).parents[1]

TORCH_FREE = [
    "bhvit",
    "bhvit.pixels",
    "bhvit.runtime",
    "searcher.cli",
    "searcher.candidate",
    "searcher.space",
    "searcher.feasible",
    "searcher.recipe",
    "searcher.records",
    "searcher.coordinator",
    "searcher.datasets.images",
    "searcher.commands.doctor",
    "searcher.commands.search",
    "searcher.commands.train",
    "searcher.commands.ablation",
    "searcher.commands.reproduce",
]
LIGHT = [
    *(
        f"searcher.commands.{name}"
        for name in ("bench", "calibrate", "cost", "data", "space", "evaluate", "deploy", "teacher", "completion")
    ),
    *(f"searcher.commands.{name}" for name in GROUPS["look"]),
    "searcher.preflight",
    "searcher.teacher_file",
]


def modules_after_importing(module: str) -> set[str]:
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("module", TORCH_FREE + LIGHT)
def test_torch_is_not_loaded(module: str) -> None:
    assert not {"torch", "timm", "torchvision"} & modules_after_importing(module)


@pytest.mark.parametrize("module", [*LIGHT, "searcher.commands.search", "searcher.commands.doctor"])
def test_optuna_is_not_loaded_by_what_only_reads_nor_for_help(module: str) -> None:
    assert "optuna" not in modules_after_importing(module)


@pytest.mark.parametrize(
    "module", ["bhvit", "searcher.space", "searcher.records", "searcher.coordinator", "searcher.listing"]
)
def test_rich_stays_in_views_and_commands(module: str) -> None:
    assert "rich" not in modules_after_importing(module)


# --- families: the search and its tests are written for any of them

NAMES_A_FAMILY = {
    "searcher/reproductions.py": "the thesis' tables are of one model",
    "searcher/benching/models.py": "the packed runtime has the name of its package, as a family has",
}
SOURCES = [
    path.relative_to(ROOT).as_posix()
    for folder in ("searcher", "tests/searcher")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def names_of_families(tree: ast.AST) -> Iterator[str]:
    """What a source has of a family: its name, an import of its modules or of what they define, its layers.

    Docstrings may have examples.
    """
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in documentation:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value in FAMILIES or re.search(rf"family: *({'|'.join(FAMILIES)})\b", node.value):
                yield repr(node.value)
            yield from ADDRESS.findall(node.value)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if of_a_family(alias.name))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bhvit"):
            for alias in node.names:
                found = getattr(importlib.import_module(str(node.module)), alias.name, None)
                home = getattr(found, "__module__", "")
                if of_a_family(str(node.module)) or of_a_family(home) or stands_for_a_family(found):
                    yield f"{node.module}.{alias.name}"


def stands_for_a_family(found: object) -> bool:
    """Whether an object is an architecture, or the presets of a family."""
    return isinstance(found, Architecture) or any(found is family.presets for family in FAMILIES.values())


def of_a_family(module: str) -> bool:
    """Whether a module is the home of a family: that of its row's functions, or one with the family's name."""
    return module in HOMES or any(re.match(rf"bhvit\.{name}(_|\.|$)", module) for name in FAMILIES)


HOMES = {
    home
    for family in FAMILIES.values()
    for home in (family.config.__module__, family.layer_terms.__module__, family.builder.split(":")[0])
}
PARTS = {
    address.rpartition(".")[2]
    for family in FAMILIES.values()
    for preset in family.presets.values()
    for address in preset.addresses
    if "." in address
}
ADDRESS = re.compile(rf"(?:stage[\d*\[]\S*|\*)\.(?:{'|'.join(sorted(PARTS))})\b")


@pytest.mark.parametrize("source", [s for s in SOURCES if s not in NAMES_A_FAMILY])
def test_no_family_is_named(source: str) -> None:
    assert not list(names_of_families(ast.parse((ROOT / source).read_text(encoding="utf-8"))))


@pytest.mark.parametrize("source", NAMES_A_FAMILY)
def test_exceptions_are_still_needed(source: str) -> None:
    assert list(names_of_families(ast.parse((ROOT / source).read_text(encoding="utf-8"))))


def test_every_way_of_naming_a_family_is_found() -> None:
    name, family = next(iter(FAMILIES.items()))
    module, preset = family.config.__module__, next(iter(family.presets.values()))
    part = preset.block_parts(0)[0]
    for source in (
        f"family = '{name}'",
        f"text = 'model: {{family: {name}}}'",
        f"import {module}",
        f"from {module} import {family.config.__name__}",
        f"glob = '*.{part}'",
        f"address = 'stage0.block0.{part}'",
    ):
        assert list(names_of_families(ast.parse(source))), source
    assert not list(names_of_families(ast.parse("from bhvit.families import FAMILIES; x = 'stage0*', '*.block1.*'")))
