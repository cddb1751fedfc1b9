"""`searcher bench`: fair timing, memory of fresh processes, accuracy, and what is printed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bhvit

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from bhvit.errors import InvalidInput
from bhvit.precision import PrecisionPlan
from bhvit.runtime.__main__ import main as runtime_main
from bhvit.runtime.header import Header
from bhvit.runtime.packed_file import write
from bhvit.runtime.schema import random_arrays
from searcher.benching.accuracy import TestImages, top1
from searcher.benching.contestants import Contestant, contestant, names
from searcher.benching.fresh_process import peak_bytes
from searcher.benching.models import open_model
from searcher.benching.report import BenchReport, Measurement, usual_reference
from searcher.benching.rounds import Timing, timed_rounds, timings
from searcher.cli import main
from searcher.views.bench import bench_json, bench_view
from searcher.views.console import console
from tests.searcher.architectures import build, thin_architecture
from tests.searcher.screens import ESCAPES, screen, terminal
from tests.searcher.tiny_onnx import write_classifier, write_images

SCREEN = """\
AMD EPYC, 1 thread of 2, batch 1

model                      ms   p95  images/s  speed  RAM MiB  file MiB  Top-1 %
model.onnx                148   154      6.75  1.00x      249      66.0     91.2
model-int8-weights.onnx   193   201      5.18  0.77x      228      29.0     91.2
model.bhvit@avx512       8.31  8.65       120  17.8x     32.0      3.98     90.0

ms, p95: median and 95th percentile of 30 rounds in which all ran in turn.
speed, ratio: against model.onnx; speed is the median over the rounds.
RAM: peak of a fresh process that loads the file and runs it once.
In turns each file finds the caches cold: one that runs alone is faster.
Top-1 on the 6 images of data/test.
"""
TINIEST = thin_architecture((8, 16, 16, 32), (16, 16, 16, 32))


class Machine:
    """A clock that runs only while something runs, at a speed that changes from round to round."""

    def __init__(self) -> None:
        self.now, self.log = 0.0, list[str]()
        self.slowness: Callable[[int], float] = lambda round_number: 1.0

    def clock(self) -> float:
        return self.now

    def run(self, name: str, seconds: float) -> Callable[[], None]:
        def work() -> None:
            self.now += seconds * self.slowness(self.log.count(name))
            self.log.append(name)

        return work


def test_every_round_runs_everything_once_in_turn() -> None:
    machine = Machine()
    timed_rounds([machine.run("a", 1), machine.run("b", 2)], 3, warm_up=1, clock=machine.clock)
    assert machine.log == ["a", "b"] * 4


def test_warm_up_rounds_do_not_count() -> None:
    machine = Machine()
    machine.slowness = lambda n: 100.0 if n < 2 else 1.0
    seconds = timed_rounds([machine.run("a", 1), machine.run("b", 2)], 4, warm_up=2, clock=machine.clock)
    assert seconds.tolist() == [[1, 2]] * 4


def test_the_ratio_is_exact_on_a_machine_that_becomes_slower_and_slower() -> None:
    machine = Machine()
    machine.slowness = lambda n: 1.5**n
    seconds = timed_rounds([machine.run("a", 1), machine.run("b", 4)], 9, clock=machine.clock)
    fast, slow = timings(seconds, reference=1)
    assert fast.speed == pytest.approx(4)
    assert slow.speed == 1


def test_one_disturbed_round_moves_neither_median_nor_ratio() -> None:
    seconds = np.array([[1.0, 3.0]] * 8 + [[50.0, 3.0]])
    first, second = timings(seconds, reference=0)
    assert (first.median, first.speed, second.speed) == (1, 1, pytest.approx(1 / 3))


def test_p95_is_numpy_s_percentile_of_the_rounds() -> None:
    seconds = np.linspace(1, 2, 101)[:, None]
    assert timings(seconds, 0)[0].p95 == pytest.approx(1.95)


def test_peak_memory_is_that_of_a_fresh_process_not_of_this_one(tmp_path: Path) -> None:
    ours = np.ones(2**26)  # 512 MiB
    peak = peak_bytes(Contestant(write_classifier(tmp_path / "a.onnx")))
    assert 10 * 2**20 < peak < ours.nbytes / 2


def test_peak_memory_sees_the_weights(tmp_path: Path) -> None:
    small = peak_bytes(Contestant(write_classifier(tmp_path / "small.onnx")))
    large = peak_bytes(Contestant(write_classifier(tmp_path / "large.onnx", padding=2**24)))
    assert large - small > 2**24 * 4 * 0.9


def test_a_process_that_fails_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(InvalidInput, match=r"a\.onnx must run in a process of its own, but there: .*") as raised:
        peak_bytes(Contestant(tmp_path / "a.onnx"))
    assert "\n" not in str(raised.value)


def test_top1_follows_the_names_of_the_classes_not_their_order(tmp_path: Path) -> None:
    test = TestImages.of(write_images(tmp_path / "images"))
    right = open_model(Contestant(write_classifier(tmp_path / "right.onnx")))
    wrong = open_model(Contestant(write_classifier(tmp_path / "wrong.onnx", ("red", "blue", "green"))))
    assert top1([right, wrong], test) == [1, pytest.approx(1 / 3)]


def test_a_file_without_class_names_has_the_folders_in_alphabetical_order(tmp_path: Path) -> None:
    test = TestImages.of(write_images(tmp_path / "images"))
    assert test.classes == ("blue", "green", "red")
    model = open_model(Contestant(write_classifier(tmp_path / "nameless.onnx", None)))
    assert top1([model], test) == [pytest.approx(1 / 3)]  # its outputs are red, green, blue


def test_the_reference_is_the_first_full_precision_onnx_file(tmp_path: Path) -> None:
    quantized = Contestant(write_classifier(tmp_path / "a.onnx", quantized=True))
    plain = Contestant(write_classifier(tmp_path / "b.onnx"))
    (tmp_path / "c.bhvit").touch()
    packed = Contestant(tmp_path / "c.bhvit")
    assert usual_reference([packed, quantized, plain]) == 2
    assert usual_reference([packed, quantized]) == 0


def test_files_are_told_apart_by_as_much_of_their_path_as_it_takes(tmp_path: Path) -> None:
    paths = [Path("/x/a/model.onnx"), Path("/x/b/model.onnx"), Path("/x/b/model.bhvit")]
    assert names(paths, [None, None, "avx2"]) == ["a/model.onnx", "b/model.onnx", "b/model.bhvit@avx2"]
    assert names(paths[1:] + paths[-1:], [None, "avx2", "avx512"])[1:] == ["model.bhvit@avx2", "model.bhvit@avx512"]


def test_an_instruction_set_is_written_behind_the_file(tmp_path: Path) -> None:
    (tmp_path / "m.bhvit").touch()
    (tmp_path / "at@home.onnx").touch()
    assert contestant(f"{tmp_path}/m.bhvit@avx2").instruction_set == "avx2"
    assert contestant(f"{tmp_path}/at@home.onnx").instruction_set is None


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    return [
        str(write_classifier(tmp_path / "model.onnx", padding=2**19)),
        str(write_classifier(tmp_path / "model-int8-weights.onnx", quantized=True)),
    ]


def test_json_says_what_the_table_says(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = str(write_images(tmp_path / "images"))
    assert main(["bench", *files, "--repeats", "3", "--images", images, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    first, second = data["models"]
    assert data["reference"] == first["name"] == "model.onnx"
    assert (first["speed_ratio"], first["file_ratio"], first["peak_memory_ratio"]) == (1, 1, 1)
    assert first["file_bytes"] == Path(files[0]).stat().st_size > 2**21
    assert second["file_ratio"] == second["file_bytes"] / first["file_bytes"] < 0.01
    assert [m["accuracy"] for m in data["models"]] == [1, 1]
    assert data["images"] == {"folder": images, "count": 6}
    assert data["rounds"] == 3


def write_packed(path: Path, classes: tuple[str, ...]) -> Path:
    header = Header.of_plan(TINIEST, PrecisionPlan.uniform("binary"), classes=classes)
    write(path, header, random_arrays(header, seed=3))
    return path


def test_packed_files_are_measured_beside_onnx_files(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = write_packed(tmp_path / "model.bhvit", ("blue", "green", "red"))
    assert main(["bench", files[0], f"{packed}@numpy", "--repeats", "2", "--json"]) == 0
    onnx_row, row = json.loads(capsys.readouterr().out)["models"]
    assert (onnx_row["runtime"], onnx_row["instruction_set"]) == ("onnxruntime", None)
    assert (row["runtime"], row["instruction_set"], row["name"]) == (bhvit.__name__, "numpy", "model.bhvit@numpy")
    assert (row["image_size"], row["file_bytes"]) == (96, packed.stat().st_size)
    assert 10 * 2**20 < row["peak_memory_bytes"] < 100 * 2**20


def test_top1_of_a_packed_file_is_what_its_own_command_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_images(tmp_path / "images")
    packed = write_packed(tmp_path / "model.bhvit", ("green", "red", "blue"))
    assert main(["bench", str(packed), "--images", str(folder), "--repeats", "1", "--json"]) == 0
    accuracy = json.loads(capsys.readouterr().out)["models"][0]["accuracy"]
    pictures = sorted(folder.glob("*/*.png"))
    assert runtime_main([str(packed), *map(str, pictures), "--top", "1", "--json"]) == 0
    said = [image["classes"][0]["class"] for image in json.loads(capsys.readouterr().out)["images"]]
    right = [name == path.parent.name for name, path in zip(said, pictures, strict=True)]
    assert accuracy == sum(right) / len(right)
    assert 0 < accuracy < 1


def test_one_network_is_as_accurate_in_both_runtimes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    from bhvit.export.onnx import export_fp32
    from bhvit.export.packed import pack

    torch.manual_seed(1)
    classes = ("green", "red", "blue")
    model = build(TINIEST, PrecisionPlan.uniform("fp32"))
    for parameter in model.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    export_fp32(model.eval(), tmp_path / "model.onnx", classes)
    pack(model, tmp_path / "model.bhvit", classes)
    images = write_images(tmp_path / "images")
    both = [str(tmp_path / "model.onnx"), str(tmp_path / "model.bhvit")]
    assert main(["bench", *both, "--images", str(images), "--repeats", "1", "--json"]) == 0
    accuracies = [row["accuracy"] for row in json.loads(capsys.readouterr().out)["models"]]
    assert accuracies[0] == accuracies[1]
    assert 0 < accuracies[0] < 1


@pytest.mark.parametrize("width", [80, 100])
def test_the_table_fits_the_terminal(files: list[str], tmp_path: Path, width: int) -> None:
    images = str(write_images(tmp_path / "images"))
    text = screen("bench", *files, "--repeats", "2", "--images", images, width=width)
    assert "model-int8-weights.onnx" in text
    assert max(map(len, text.splitlines())) <= width


def published(files: list[str], tmp_path: Path, tail: float = 1.04) -> BenchReport:
    """A report of these figures, with 95th percentiles of `tail` medians."""

    def row(name: str, milliseconds: float, speed: float, peak: int, size: int, accuracy: float) -> Measurement:
        timing = Timing(milliseconds / 1000, tail * milliseconds / 1000, speed)
        return Measurement(name, open_model(Contestant(Path(files[0]))), timing, size, peak, accuracy)

    rows = (
        row("model.onnx", 148.04, 1, 249 << 20, 66 << 20, 0.9123),
        row("model-int8-weights.onnx", 193.0, 0.767, 228 << 20, 29 << 20, 0.9123),
        row("model.bhvit@avx512", 8.313, 17.81, 32 << 20, 4_175_572, 0.9),
    )
    images = TestImages.of(write_images(tmp_path / "images"))
    return BenchReport("AMD EPYC", 2, 1, 30, replace(images, folder=Path("data/test")), 0, rows)


def test_the_screen_on_80_columns(files: list[str], tmp_path: Path) -> None:
    with terminal(80) as out:
        console().print(bench_view(published(files, tmp_path), 80))
    assert ESCAPES.sub("", out.getvalue()) == SCREEN


def test_times_of_a_busy_machine_are_called_noisy(files: list[str], tmp_path: Path) -> None:
    calm, busy = (published(files, tmp_path / name, tail) for name, tail in (("calm", 2.0), ("busy", 2.01)))
    assert (bench_json(calm)["noisy"], bench_json(busy)["noisy"]) == (False, True)
    assert [row["noisy"] for row in bench_json(busy)["models"]] == [True] * 3
    with terminal(80) as out:
        console().print(bench_view(replace(busy, rows=(*calm.rows[:2], busy.rows[2])), 80))
    text = " ".join(ESCAPES.sub("", out.getvalue()).split())
    assert text.endswith(
        "Noisy: p95 is beyond 2 medians for model.bhvit@avx512; let the machine rest, or give more --repeats."
    )


def test_a_file_that_runs_alone_has_its_caches(files: list[str], tmp_path: Path) -> None:
    report = published(files, tmp_path)
    with terminal(80) as out:
        console().print(bench_view(replace(report, rows=report.rows[:1]), 80))
    assert "caches" not in out.getvalue()


def test_a_pipe_gets_a_line_a_model_with_the_same_words(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *files, "--repeats", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [len(line.split()) for line in lines] == [10] * 3


def test_another_reference_is_measured_too(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", files[0], "--reference", files[1], "--repeats", "2", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["reference"] == "model-int8-weights.onnx"
    assert len(data["models"]) == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["absent.onnx"], "absent.onnx must be a file"),
        (["README.md"], "bench takes .onnx and .bhvit files"),
        (["broken.onnx"], "broken.onnx must be an image classifier"),
        (["model.onnx@avx2"], "only .bhvit files take an instruction set"),
        (["model.bhvit"], "model.bhvit"),
        (["model.bhvit@avx3"], "unknown instruction set 'avx3'"),
        (["model.onnx", "--repeats", "0"], "--repeats must be at least 1"),
        (["model.onnx", "--threads", "0"], "threads must be at least 1"),
        (["model.onnx", "--images", "absent"], "--images must be a folder"),
        (["model.onnx", "--images", "strangers"], "but it also has cat"),
        (["flat.onnx"], "flat.onnx must be an image classifier"),
    ],
)
def test_wrong_input_is_one_line(
    words: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx
    from onnx import TensorProto, helper

    monkeypatch.chdir(tmp_path)
    write_classifier(Path("model.onnx"))
    Path("model.bhvit").touch()
    Path("README.md").touch()
    Path("broken.onnx").write_bytes(b"\x08\x09 nothing")
    (write_images(Path("strangers")) / "cat").mkdir()
    value = helper.make_tensor_value_info
    node = helper.make_node("Identity", ["x"], ["y"])
    flat = helper.make_graph([node], "f", [value("x", TensorProto.FLOAT, [7])], [value("y", TensorProto.FLOAT, [7])])
    onnx.save(helper.make_model(flat, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), "flat.onnx")
    assert main(["bench", *words]) == 2
    captured = capsys.readouterr()
    assert reason in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out


def test_torch_is_never_loaded(files: list[str], tmp_path: Path) -> None:
    files.append(str(write_packed(tmp_path / "model.bhvit", ("blue", "green", "red"))))
    images = str(write_images(tmp_path / "images", each=1))
    code = (
        "import sys; from searcher.cli import main\n"
        f"assert main({['bench', *files, '--repeats', '1', '--images', images]!r}) == 0\n"
        "print(*({'torch', 'timm', 'torchvision', 'optuna', 'onnx'} & set(sys.modules)), file=sys.stderr, end='')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
