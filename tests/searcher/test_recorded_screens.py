"""The pictures in the README are what the commands draw today."""

import runpy
from pathlib import Path

import pytest

RECORDER = Path(__file__).parents[2] / "docs" / "screens" / "record.py"


@pytest.mark.parametrize("name", ["show", "trial", "watch"])
def test_picture_is_what_the_command_draws(name: str) -> None:
    recorder = runpy.run_path(str(RECORDER))
    stored = (RECORDER.parent / f"{name}.svg").read_text(encoding="utf-8")
    assert recorder["recorded"](name) == stored, "run `make screens`, and look at the pictures"
