"""Models of families that the packed runtime does not run: no latency, no files to deploy, each said in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from bhvit.errors import InvalidInput
from bhvit.families import DEFAULT_FAMILY, FAMILIES
from bhvit.runtime.families import PACKED_FAMILIES
from searcher.checkpoint_files import BEST
from searcher.cli import main
from searcher.records import Outcome
from searcher.space import Space, parse_space
from searcher.study_folder import StudyFolder
from tests.searcher.architectures import model_of, small_architecture
from tests.searcher.records import record_of, store
from tests.searcher.screens import screen

UNTIMED = [name for name in FAMILIES if name not in PACKED_FAMILIES]
of_untimed_studies = pytest.mark.parametrize("study", UNTIMED, indirect=True)
of_untimed_families = pytest.mark.parametrize("family", UNTIMED)


def named_model(family: str, label: str) -> dict[str, Any]:
    precisions = FAMILIES[family].config.precisions
    return {**model_of(small_architecture(family, 32), family), "name": label, "precision": {"default": precisions[0]}}


def space_with(family: str, **sections: Any) -> Space:
    models = [named_model(DEFAULT_FAMILY, "timed"), named_model(family, "untimed")]
    return parse_space({"model": models, **sections}, "mixed")


@pytest.fixture
def study(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A study of one trial of each model."""
    space, folder = space_with(request.param), StudyFolder(tmp_path / "mixed")
    folder.prepare()
    folder.space_file.write_text(space.to_yaml())
    store(folder, *(record_of(space, n) for n in range(space.size)))
    return folder.path


@of_untimed_families
@pytest.mark.parametrize(
    ("sections", "remedy"),
    [
        ({"budget": {"device": "avx512"}}, "leave the device out."),
        ({"budget": {"device": "avx512", "latency": "1 s"}}, "limit memory or ops instead, and leave latency and"),
        (
            {"budget": {"device": "avx512"}, "search": {"objectives": ["accuracy", "latency"]}},
            "limit memory or ops instead, and leave latency and device out.",
        ),
    ],
)
def test_a_device_in_the_file_is_refused_with_the_model(family: str, sections: dict[str, Any], remedy: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        space_with(family, **sections)
    assert str(caught.value).startswith("mixed: latencies are predicted for models that the packed runtime runs")
    assert f"but model untimed is a {FAMILIES[family].config.title}; {remedy}" in str(caught.value)


@of_untimed_studies
@pytest.mark.parametrize(
    "command", ["show {}", "show {} --budget latency=1s,device=avx512", "diff {} 0 1", "export {}"]
)
def test_views_of_the_whole_study_refuse_a_device(
    study: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    device = [] if "device" in command else ["--device", "avx512"]
    capsys.readouterr()
    assert main([*command.format(study).split(), *device]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert "but model untimed is a" in error
    assert error.count("\n") == 1


@of_untimed_studies
def test_a_trial_of_a_model_that_is_timed_has_its_latency(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "predicted for avx512, in fp32" in screen("trial", str(study), "0", "--device", "avx512", width=120)
    assert main(["trial", str(study), "1", "--device", "avx512"]) == 2
    assert "but model untimed is a" in capsys.readouterr().err


@of_untimed_families
def test_the_cost_of_one_candidate_says_so_in_one_line(family: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--family", family, "--device", "avx512"]) == 2
    error = capsys.readouterr().err
    assert f"but this one is a {FAMILIES[family].config.title}; leave the device out." in error
    assert error.count("\n") == 1


@of_untimed_studies
def test_a_model_that_cannot_be_deployed_leaves_no_folder(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, space = StudyFolder(study), StudyFolder(study).space()
    record = record_of(space, 1, Outcome.COMPLETE)
    store(folder, record)
    weights = folder.trial(record) / BEST
    save_file({"x": np.zeros(1, np.float32)}, weights)
    title, out = space.candidate(space.decode(1)).architecture.title, study.parent / "out"
    for source, remedy in (
        ([str(study), "1"], f"show {study} --where 'model=timed'`."),
        (["--checkpoint", str(weights)], "choose a checkpoint of timed."),
    ):
        capsys.readouterr()
        assert main(["deploy", *source, "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert f"is a {title}; " in error
        assert error.endswith(f"{remedy}\n")
        assert error.count("\n") == 1
        assert not out.exists()
