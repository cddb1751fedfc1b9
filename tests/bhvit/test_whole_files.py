"""Files that are whole or absent, and readable for whom the user's umask allows."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bhvit.checkpoint import save_weights
from bhvit.whole_files import write_with
from tests.bhvit.small import small_model


@pytest.fixture(params=[0o022, 0o027, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_file_has_the_rights_that_the_umask_leaves(umask: int, tmp_path: Path) -> None:
    write_with(tmp_path / "text", lambda path: path.write_text("whole") and None)
    torch.manual_seed(0)
    save_weights(small_model("binary"), tmp_path / "weights.safetensors")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~umask}


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_with(path, fail)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("text", "old")]
