"""`python -m bhvit.runtime`: what it prints, and how it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bhvit.runtime import Model, load
from bhvit.runtime.__main__ import main, read_image
from tests.bhvit.runtime.networks import layers_of_widths, photographs, written

NAMES = tuple(f"pet {i}" for i in range(7))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return written(tmp_path / "m.bhvit", layers_of_widths("fp32", classes=NAMES))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(photographs(150, 1)[0, :120]).save(path)
    return path


def test_the_classes_are_those_of_the_model(model: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(model), str(image), "--top", "2", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["images"]
    packed = load(model)
    logits = packed(read_image(image, packed)[None])[0].astype(np.float64)
    best = np.argsort(-logits)[:2]
    assert [entry["index"] for entry in found["classes"]] == best.tolist()
    assert [entry["class"] for entry in found["classes"]] == [NAMES[i] for i in best]
    probabilities = [entry["probability"] for entry in found["classes"]]
    np.testing.assert_allclose(probabilities, (np.exp(logits) / np.exp(logits).sum())[best])


def test_it_prints_names_and_probabilities(model: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(model), str(image), str(image), "--top", "99"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:8] == lines[8:]
    assert lines[0] == str(image)
    percents, names = zip(*(line.split(" %  ") for line in lines[1:8]), strict=True)
    assert sorted(names) == list(NAMES)
    assert [float(p) for p in percents] == sorted(map(float, percents), reverse=True)
    assert sum(map(float, percents)) == pytest.approx(100, abs=0.5)


def test_classes_without_a_name_are_numbered(tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(written(tmp_path / "n.bhvit", layers_of_widths("binary"))), str(image), "--top", "1"]) == 0
    assert "%  class " in capsys.readouterr().out


def test_a_profile_shows_where_the_time_goes(
    model: Path, image: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bhvit.runtime.__main__.PROFILE_RUNS", 3)
    assert main([str(model), str(image), "--profile", "--threads", "2"]) == 0
    out = capsys.readouterr().out
    assert "2 threads, median of" in out
    table = out.splitlines()[-len(load(model).layers) :]
    assert [line.split()[0] for line in table] == list(load(model).layers)
    assert sum(float(line.split()[-2]) for line in table) == pytest.approx(100, abs=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.bhvit", "{image}"], "absent.bhvit"),
        (["{image}", "{image}"], "is not a packed model that can be used"),
        (
            ["{model}", "absent.jpg"],
            "absent.jpg must be a readable image, but No such file or directory; check the path.",
        ),
        (["{model}", "."], ". must be a readable image, but Is a directory; check the path."),
        (["{model}", "{model}"], "must be a readable image, but Pillow does not know its format"),
        (["{model}", "{image}", "--top", "0"], "--top must be at least 1, but it is 0."),
        (["{model}", "{image}", "--threads", "0"], "threads must be a whole number of 1 to 256, but it is 0."),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, model: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([a.format(model=model, image=image) for a in arguments]) == 2
    printed = capsys.readouterr()
    assert not printed.out
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_one_bad_image_leaves_the_others_their_classes(
    model: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(model), str(image)]) == 0
    alone = capsys.readouterr().out
    assert main([str(model), "absent.jpg", str(image), str(model)]) == 2
    printed = capsys.readouterr()
    assert printed.out == alone
    first, second = printed.err.splitlines()
    assert first.startswith("error: absent.jpg must be")
    assert second.startswith(f"error: {model} must be")
    assert main([str(model), "absent.jpg", str(image), "--json", "--profile"]) == 2
    data = json.loads(capsys.readouterr().out)
    assert [entry["image"] for entry in data["images"]] == [str(image)]
    assert [entry["image"] for entry in data["errors"]] == ["absent.jpg"]
    assert data["seconds"]


def test_the_json_says_its_form_as_those_of_searcher_do(
    model: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console = pytest.importorskip("searcher.views.console")  # with rich, which runs without torch lack
    assert main([str(model), str(image), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["view"], data["schema"], data["errors"]) == ("runtime", console.JSON_SCHEMA, [])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_an_error(
    model: Path, image: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    monkeypatch.setattr(Model, "__call__", lambda self, images: np.array([[0, value]], np.float32))
    assert main([str(model), str(image)]) == 2
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err == f"error: logits must be finite, but those of {image} are not; export the model again.\n"


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "error: interrupted.\n"),
        (MemoryError(), 2, "error: the model and an image must fit into memory, but there is too little; free some.\n"),
    ],
)
def test_an_interruption_and_too_little_memory_are_a_line(
    model: Path,
    image: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    code: int,
    message: str,
) -> None:
    def fails(*_: object) -> None:
        raise raised

    monkeypatch.setattr(Model, "__call__", fails)
    assert main([str(model), str(image)]) == code
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    ("output", "code", "message"),
    [("| true", 0, ""), (">&-", 0, ""), ("> /dev/full", 2, "error: No space left on device; check the path and")],
)
def test_an_output_that_nobody_reads_is_no_traceback(
    model: Path, image: Path, output: str, code: int, message: str
) -> None:
    line = f'set -o pipefail; "$0" -m bhvit.runtime "$1" "$2" {output}'
    done = subprocess.run(
        ["bash", "-c", line, sys.executable, str(model), str(image)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == bool(message)


def test_it_runs_as_a_module_without_torch(model: Path, image: Path) -> None:
    code = (
        "import runpy, sys; sys.argv = ['bhvit.runtime', *sys.argv[1:]]\n"
        "try: runpy.run_module('bhvit.runtime', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0 and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(model), str(image)], check=True, capture_output=True)
