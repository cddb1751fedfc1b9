"""What is refused before a search writes anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from bhvit.errors import InvalidInput
from searcher.outcomes import MissingData
from searcher.preflight import check_trainable
from searcher.space import Space
from tests.searcher.spaces import small_space


def _space(**sections: Any) -> Space:
    """Trainable: the demo's recipe (12 epochs of phase 2 or fewer) on the demo's six classes."""
    model = {"preset": "tiny", "classes": 6}
    return small_space(**{"model": model, "recipe": "demo", "data": {"name": "trashnet_mini"}, **sections})


def _hyperband(max_epochs: int) -> dict[str, Any]:
    return {"pruner": {"name": "hyperband", "max_epochs": max_epochs}}


def test_trainable_space_raises_nothing(tmp_path: Path) -> None:
    save_file({"weight": np.zeros(1)}, tmp_path / "teacher.safetensors")
    teacher = {"teacher": str(tmp_path / "teacher.safetensors"), "teacher_model": "deit_tiny_patch16_224"}
    check_trainable(_space())
    check_trainable(_space(recipe={"base": "demo", "qat": {"epochs": 9}, **teacher}, search=_hyperband(9)))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"model": {"preset": "tiny", "classes": 5}},
            "classes, but it is 5 and trashnet_mini has 6; use classes: 6.",
        ),
        (
            {"recipe": {"base": "demo", "qat": {"epochs": 9}}, "search": _hyperband(10)},
            "but they are 10 and 9; use max_epochs: 9.",
        ),
        (
            {"search": {"processes": 3}},
            "multiple of processes, but they are 16 and 3; use batch_size: 15, or another number of processes.",
        ),
        ({"recipe": None}, "training needs recipe and data, but the space lacks recipe; add it."),
    ],
    ids=["classes", "hyperband", "processes", "no recipe"],
)
def test_untrainable_space_is_refused_in_one_line_with_the_remedy(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_trainable(_space(**sections))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_absent_teacher_and_absent_images_are_missing_data(tmp_path: Path) -> None:
    teacher = {"teacher": str(tmp_path / "none.pth"), "teacher_model": "deit_tiny_patch16_224"}
    with pytest.raises(MissingData, match=r"none\.pth, but there is no such file"):
        check_trainable(_space(recipe={"base": "demo", **teacher}))
    with pytest.raises(MissingData, match="is not a folder"):
        check_trainable(_space(data={"name": "image_folder", "root": str(tmp_path)}))


def test_damaged_teacher_is_noticed_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "t.safetensors").write_bytes(b"half")
    with pytest.raises(
        InvalidInput, match=r"t\.safetensors must be a whole safetensors file, but .*; restore it or make"
    ):
        check_trainable(_space(recipe={"base": "demo", "teacher": str(tmp_path / "t.safetensors")}))


def test_preflight_needs_no_torch() -> None:
    program = "import sys, searcher.preflight; sys.exit('torch' in sys.modules or 'optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
