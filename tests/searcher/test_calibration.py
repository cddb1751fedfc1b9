"""Calibration against made-up devices, whose coefficients are known."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bhvit.device_file import SHIPPED as SHIPPED_FOLDER
from bhvit.device_file import load_device
from bhvit.device_profile import COEFFICIENTS
from bhvit.latency import layer_seconds, seconds_by_layer
from bhvit.precision import PRECISIONS, Precision, PrecisionPlan
from bhvit.staged import Architecture
from searcher import runtime_timing
from searcher.calibration import Timed, calibrated, random_candidate
from searcher.cli import main
from searcher.commands import calibrate
from searcher.latency_fit import TimedWork, fit, nnls
from tests.searcher.architectures import first_preset, small_architecture
from tests.searcher.screens import screen

SHIPPED = load_device("avx512")
TYPICAL = {"ps": 5.0, "ns": 0.2, "us": 8.0}
TRUE = {name: TYPICAL[name[-2:]] * (0.5, 1, 2)[i % 3] for i, name in enumerate(COEFFICIENTS)}
TRUTH = replace(SHIPPED, coefficients=TRUE)


class FakeMachine:
    """Takes what `TRUE` says, give or take `noise`."""

    others = 0.25

    def __init__(self, noise: float) -> None:
        self.noise, self.random = noise, np.random.default_rng(1)

    def __call__(self, architecture: Architecture, layers: Mapping[str, Precision]) -> dict[str, float]:
        seconds = seconds_by_layer(architecture, layers, TRUTH, layer_seconds)
        return {a: s * self.random.lognormal(0, self.noise) for a, s in seconds.items()}


class Busy(FakeMachine):
    """Other programs come and go: whole candidates take up to many times as long."""

    def __call__(self, architecture: Architecture, layers: Mapping[str, Precision]) -> dict[str, float]:
        slowness = self.random.lognormal(0, 2)
        return {a: s * slowness for a, s in super().__call__(architecture, layers).items()}


def timed(candidates: int, noise: float) -> list[Timed]:
    rng, machine = np.random.default_rng(0), FakeMachine(noise)
    drawn = [random_candidate(rng) for _ in range(candidates)]
    return [Timed(one, machine(one.architecture, one.layers)) for one in drawn]


def test_the_fit_recovers_known_coefficients() -> None:
    result = calibrated(timed(30, noise=0), SHIPPED, 1.0, 0.0)
    for name, value in TRUE.items():
        assert result.profile.coefficients[name] == pytest.approx(value, rel=1e-3), name
    assert result.median_error < 1e-3
    assert result.rank_correlation == pytest.approx(1)
    assert (result.candidates, result.checked) == (30, 6)


def test_noise_of_a_tenth_a_layer_leaves_candidates_predicted_within_a_few_percent() -> None:
    result = calibrated(timed(40, noise=0.1), SHIPPED, 1.0, 0.0)
    assert result.median_error < 0.05
    assert result.rank_correlation is not None
    assert result.rank_correlation > 0.97  # of eight candidates two neighbours may change places


@pytest.mark.parametrize(("candidates", "checked"), [(15, 5), (19, 6), (24, 6), (25, 5), (99, 19)])
def test_at_least_five_candidates_are_kept_from_the_fit(candidates: int, checked: int) -> None:
    assert calibrated(timed(candidates, noise=0), SHIPPED, 1.0, 0.0).checked == checked


def test_fewer_than_five_have_no_rank_correlation() -> None:
    result = calibrated(timed(9, noise=0), SHIPPED, 1.0, 0.0)
    assert (result.checked, result.rank_correlation) == (4, None)


def test_a_layer_that_was_disturbed_does_not_bend_the_fit() -> None:
    clean = [TimedWork({"fp32_mac_ps": n}, n * 10e-12) for n in range(100, 200)]
    disturbed = [TimedWork({"fp32_mac_ps": n}, n * 1000e-12) for n in range(5)][1:]
    assert fit(clean + disturbed, SHIPPED.coefficients)["fp32_mac_ps"] == pytest.approx(10, rel=0.02)


def test_what_was_not_measured_is_taken_from_the_shipped_profile() -> None:
    coefficients = fit([TimedWork({"fp32_mac_ps": 10}, 1e-9)], SHIPPED.coefficients)
    assert coefficients == {**SHIPPED.coefficients, "fp32_mac_ps": pytest.approx(100)}


def test_nnls_agrees_with_scipy() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(0)
    for _ in range(100):
        rows, columns = int(rng.integers(3, 60)), int(rng.integers(1, 20))
        matrix = rng.normal(size=(rows, columns)) * 10.0 ** rng.integers(-9, 9, columns)
        target = rng.normal(size=rows) + 0.5
        ours, theirs = nnls(matrix, target), optimize.nnls(matrix, target)[0]
        assert (ours >= 0).all()
        assert np.linalg.norm(matrix @ ours - target) <= np.linalg.norm(matrix @ theirs - target) * (1 + 1e-9) + 1e-12


def test_random_candidates_are_of_the_full_space() -> None:
    rng = np.random.default_rng(0)
    drawn = [random_candidate(rng) for _ in range(200)]
    assert {p.name for one in drawn for p in one.layers.values()} == set(PRECISIONS)
    for kind in {a.rsplit(".")[-1].rstrip("123") for one in drawn for a in one.layers}:
        used = {p.name for one in drawn for a, p in one.layers.items() if kind in a}
        assert used == set(PRECISIONS), kind
    widths = [one.architecture.embed_dims[0] / 64 for one in drawn]
    assert min(widths) < 1.2
    assert max(widths) > 2.8
    assert any(i % 16 for one in drawn for i in one.architecture.intermediate_dims)
    assert len({one.architecture.image_size for one in drawn}) > 2


@pytest.fixture
def fake_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """`searcher calibrate` meets a made-up machine, which it measures in a moment."""
    monkeypatch.setattr(runtime_timing, "resolved_instruction_set", lambda asked: asked or "avx512")
    monkeypatch.setattr(runtime_timing, "LayerTimes", lambda threads, instruction_set: FakeMachine(0.02))
    monkeypatch.setattr(runtime_timing, "machine_name", lambda: "A Processor")
    monkeypatch.setattr(calibrate, "SECONDS", 0.2)
    monkeypatch.setattr(calibrate, "QUICK_SECONDS", 0.001)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_calibrate_writes_a_profile_that_a_space_can_name(fake_machine: Path) -> None:
    text = screen("calibrate", tty=False)
    profile = load_device("devices/mine.yaml")
    assert (profile.name, profile.machine, profile.instruction_set) == ("mine", "A Processor", "avx512")
    assert (profile.threads, profile.estimated, profile.other_programs) == (1, False, 0.25)
    assert profile.median_error is not None
    assert 0 < profile.median_error < 0.05
    binary = PrecisionPlan.uniform("binary").resolve(first_preset().addresses)
    seconds = [sum(seconds_by_layer(first_preset(), binary, p, layer_seconds).values()) for p in (profile, TRUTH)]
    assert seconds[0] == pytest.approx(seconds[1], rel=0.05)
    assert text.startswith("A Processor, avx512, 1 thread: ")
    assert "rank correlation 0.99" in text or "rank correlation 1.000" in text
    assert "Other programs had the core for 25.0 % of the time: close them, calibrate again." in text
    assert 'budget: {latency: "40 ms", device: devices/mine.yaml}' in text
    for name in COEFFICIENTS:
        assert f"\n{name.rpartition('_')[0]} " in text


def test_the_json_has_what_the_table_has(fake_machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads(screen("calibrate", "--quick", "--json", "--threads", "2", "--out", "two.yaml", tty=False))
    assert (data["file"], data["threads"], data["shipped"], data["candidates"]) == ("two.yaml", 2, "avx512", 15)
    assert [row["name"] for row in data["coefficients"]] == list(COEFFICIENTS)
    assert data["held_out"]["candidates"] == 5
    assert data["other_programs"] is None  # of several threads that cannot be told
    profile = load_device("two.yaml")
    assert (profile.threads, profile.other_programs) == (2, None)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_busy_machine_gets_no_profile(
    fake_machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    monkeypatch.setattr(runtime_timing, "LayerTimes", lambda threads, instruction_set: Busy(0.02))
    assert main(["calibrate", "--quick", *options]) == 1
    printed = capsys.readouterr()
    assert "searcher: devices/mine.yaml was not written: the median error is " in printed.err
    assert "close other programs, then calibrate again." in printed.err
    assert "Written" not in printed.out
    assert not options or json.loads(printed.out)["file"] is None
    assert not list(fake_machine.iterdir())


def test_numpy_is_no_device(fake_machine: Path) -> None:
    text = screen("calibrate", "--isa", "numpy", width=1000)
    assert text.startswith("searcher: calibrate measures avx512, avx2, neon, scalar, but the runtime would use numpy; ")
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--threads", "0"], "--threads must be at least 1, but it is 0."),
        (["--out", "mine.json"], "--out must be a YAML file, but it is mine.json; let its name end in .yaml."),
        (["--out", ""], "--out must be a YAML file, but it is .; let its name end in .yaml."),
        (
            ["--out", "absent/mine.yaml"],
            "--out must be in a folder that exists, but absent is none; create it first.",
        ),
        (["--out", f"{'n' * 230}.yaml"], f"--out must be a file that you can write, but {'n' * 230}.yaml: "),
        (["--out", "/proc/mine.yaml"], "--out must be a file that you can write, but /proc/mine.yaml: "),
    ],
)
def test_wrong_arguments_are_one_line(fake_machine: Path, argv: list[str], message: str) -> None:
    text = screen("calibrate", *argv, width=1000)
    assert text.startswith(f"searcher: {message}")
    assert text.count("\n") == 1
    assert not list(fake_machine.iterdir())


def nothing_is_measured(*_: object) -> None:
    raise AssertionError("measured before the path was looked at")


def test_only_a_device_profile_of_the_user_is_replaced_and_only_when_told(
    fake_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = fake_machine / "space.yaml"
    space.write_text("name: pets\n")
    screen("calibrate", "--quick", tty=False)
    mine = fake_machine / "devices" / "mine.yaml"
    before = mine.read_text()
    with monkeypatch.context() as patched:
        patched.setattr(runtime_timing, "LayerTimes", nothing_is_measured)
        text = screen("calibrate", width=1000)
        assert "devices/mine.yaml exists; add --overwrite" in text
        text = screen("calibrate", "--overwrite", "--out", "space.yaml", width=1000)
        assert "--out must be a new file or a device profile, but " in text
        shipped = SHIPPED_FOLDER / "rpi5.yaml"
        content = shipped.read_bytes()
        link = fake_machine / "link.yaml"
        link.symlink_to(shipped)
        for out in (shipped, link):
            text = screen("calibrate", "--overwrite", "--out", str(out), width=1000)
            assert "comes with searcher; name another one." in text
        assert shipped.read_bytes() == content
    assert (space.read_text(), mine.read_text()) == ("name: pets\n", before)
    screen("calibrate", "--quick", "--overwrite", "--threads", "2", tty=False)
    assert load_device(mine).threads == 2


def test_a_candidate_is_timed_layer_by_layer_with_the_real_runtime() -> None:
    architecture = small_architecture(image_size=32)
    second = architecture.block_parts(0)[-1]
    layers = PrecisionPlan.uniform("int4").with_layers(f"*.{second}", "binary").resolve(architecture.addresses)
    measure = runtime_timing.LayerTimes(instruction_set="numpy")
    seconds = measure(architecture, layers)
    assert tuple(seconds) == ("stem", *architecture.addresses, "head")
    assert min(seconds.values()) > 0
    assert 0 <= measure.others < 1


def test_an_instruction_set_that_this_machine_lacks_is_one_line() -> None:
    text = screen("calibrate", "--isa", "avx1024")
    assert text.startswith("searcher: unknown instruction set ")
    assert text.count("\n") == 1
