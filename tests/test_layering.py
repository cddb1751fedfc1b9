"""The torch-free modules, imported in a fresh interpreter, load neither torch nor (views, cost) optuna."""

import subprocess
import sys

import pytest

from searcher.cli import GROUPS

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
