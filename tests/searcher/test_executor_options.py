"""Options of one executor that are given with another one are mistakes, not ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from searcher.cli import main


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--address", "auto"], "--address must not be given with --executor processes; use --executor ray."),
        (["--gpus-per-trial", "0.5"], "--gpus-per-trial must not be given with --executor processes; use"),
        (
            ["--executor", "ray", "--device", "cpu"],
            "--device must not be given with --executor ray; use --gpus-per-trial",
        ),
        (["--executor", "ray", "--devices", "cpu,cpu"], "--devices must not be given with --executor ray; use"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_of_the_other_executor_are_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", "search_spaces/demo.yaml", "--runs", str(tmp_path), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
