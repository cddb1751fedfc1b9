"""What the views show where a device is known, whole screens and JSON; without one nothing of it."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bhvit.device_file import device_yaml, load_device
from bhvit.device_profile import DeviceProfile
from bhvit.families import Family
from bhvit.layer_terms import Count
from bhvit.precision import Precision
from searcher.cli import main
from searcher.derived import ABLATION_STEPS
from searcher.device_profiles import device_to_plain
from searcher.snapshot import StudySnapshot, snapshot_of
from searcher.study_folder import StudyFolder
from searcher.views.watch_ui import WatchUI
from searcher.watching import WatchedStudy
from tests.searcher.screens import assert_golden, screen
from tests.searcher.studies import many_study, one_trial_study

SERVER = dataclasses.replace(
    load_device("avx512"), name="server", description="A server of the tests", date="2026-01-01", estimated=False
)
LIMITED = {"relative_to": {"precision": "fp32"}, "memory": 1.0, "latency": "300 us", "device": device_to_plain(SERVER)}
NARROW, WIDE, PIPE = 80, 100, 0


@pytest.fixture(scope="module", autouse=True)
def _simple_latencies() -> Iterator[None]:
    """Latencies that no better model of a device changes."""

    def seconds_of(family: Family, shape: Any, profile: DeviceProfile) -> Any:
        terms = family.layer_terms(shape)

        def seconds(address: str, precision: Precision, plan_quantizes: bool) -> Count:
            counts = terms(address, precision, plan_quantizes)
            return counts.macs * 1e-12 * (1 + precision.weight_bits) + counts.elementwise * 1e-11

        return seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Family, "seconds_of", seconds_of)
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `runs/` of a study under a budget of latency, and of one that knows no device."""
    home = tmp_path_factory.mktemp("latency")
    many_study(home / "runs", 60, "fast", budget=LIMITED)
    many_study(home / "runs", 60, "plain")
    one_trial_study(home / "runs")
    (home / "server.yaml").write_text(device_yaml(SERVER))
    return home


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home)
    monkeypatch.setattr("sys.argv", ["searcher"])
    return Path("runs")


def shown(command: str, width: int) -> str:
    """The screen (or, at width 0, the pipe), with a digest that does not depend on the profile's coefficients."""
    text = screen(*command.split(), width=width or 100, tty=width > 0)
    return re.sub(r"server-[0-9a-f]{10}", "server-0123456789", text)


@pytest.mark.parametrize("width", [NARROW, WIDE, PIPE])
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("show", "show runs/fast"),
        ("trial", "trial runs/fast 7"),
        ("diff", "diff runs/fast 7 8"),
        ("ls", "ls runs"),
        ("compare", "compare runs/fast runs/plain"),
        ("watch", "watch runs/fast --once --top 8"),
        ("space", "space runs/fast/space.yaml"),
        ("plot_front", "plot runs/fast --kind front"),
        ("plot_budget", "plot runs/fast --kind budget"),
        ("cost", "cost runs/fast/space.yaml --set hidden=2"),
        ("show_device", "show runs/plain --device server.yaml --sort latency --top 3"),
        ("ablation", "ablation runs/fast/space.yaml --costs"),
        ("ablation_plain", "ablation runs/plain/space.yaml --costs"),
    ],
)
def test_whole_screens(here: Path, name: str, command: str, width: int) -> None:
    text = shown(command, width)
    assert_golden(f"latency_{name}_{width or 'pipe'}", text)
    assert not width or max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("study", ["fast", "plain"])
def test_no_step_of_the_ablation_is_broken_over_lines(here: Path, study: str, width: int) -> None:
    tables = re.findall(r"^model .*\n─+\n((?:.+\n)+)", shown(f"ablation runs/{study}/space.yaml --costs", width), re.M)
    assert tables
    for rows in tables:
        assert re.findall(r"^(.{14})  ", rows, re.M) == [step.ljust(14) for step in ABLATION_STEPS]


@pytest.mark.parametrize("form", ["md", "latex"])
def test_whole_exports(here: Path, form: str) -> None:
    assert_golden(f"latency_export_{form}", shown(f"export runs/fast --{form} --top 3", PIPE))


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_no_column_of_a_leaderboard_is_lost_to_a_latency(here: Path, width: int) -> None:
    plain, timed = (shown(f"show runs/plain{option}", width) for option in ("", " --device server.yaml"))
    kept = ("trial", "S0", "Top-1", "memory", "OPs", "latency")
    head = next(line for line in timed.splitlines() if "latency" in line and "Top-1" in line)
    assert all(name in head for name in kept)
    assert ("hidden" in head and "MLP" in head) or "width" in head
    strips = [found.group() for line in plain.splitlines() if (found := re.search(r"\d+ \d+│.*│ *\d+ \d+", line))]
    assert len(strips) >= 10
    assert all(strip in timed for strip in strips[:10])


def test_a_device_changes_no_budget_that_does_not_limit_latency(here: Path) -> None:
    timed = shown("show runs/plain --device server.yaml", WIDE)
    assert "re-sliced" not in timed
    assert "re-sliced" in shown("show runs/plain --budget latency=200us,device=server.yaml", WIDE)


def test_latency_is_a_field_of_trials_where_a_device_is_known(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [r for r in snapshot_of_study(here / "fast").ranked if (r.latency_seconds or 0) < 150e-6]
    data = json.loads(shown("show runs/fast --where latency<150us --sort -latency --json", PIPE))
    assert data["listed"] == [r.number for r in sorted(records, key=lambda r: -(r.latency_seconds or 0))][:10]
    for words in (["--sort", "latency"], ["--where", "latency<1ms"], ["--columns", "trial,latency"]):
        assert main(["show", "runs/plain", *words]) == 2
        assert "is predicted for a device" in capsys.readouterr().err
    assert main(["show", "runs/fast", "--where", "latency<150"]) == 2
    assert "such as '40 ms'" in capsys.readouterr().err


def snapshot_of_study(path: Path) -> StudySnapshot:
    return snapshot_of(StudyFolder(path))


def test_json_of_every_view_has_latency_seconds(here: Path) -> None:
    def read(command: str) -> Any:
        return json.loads(shown(f"{command} --json", PIPE))

    trial = snapshot_of_study(here / "fast").trial(7)
    show = read("show runs/fast")
    assert show["budget"]["latency_seconds"] == 300e-6
    assert show["budget"]["device"] == "server-0123456789"
    assert show["trials"][7]["latency_seconds"] == trial.latency_seconds
    assert show["trials"][7]["budget_share"]["latency"] == trial.latency_seconds / 300e-6
    cost = read("trial runs/fast 7")["cost"]
    assert cost["latency_seconds"] == trial.latency_seconds
    assert sum(row["latency_seconds"] for row in cost["layers"]) == pytest.approx(trial.latency_seconds)
    diff = read("diff runs/fast 7 8")
    assert diff["latency_seconds_difference"] == diff["after"]["latency_seconds"] - diff["before"]["latency_seconds"]
    assert read("space runs/fast/space.yaml")["latency_seconds"].keys() == {"minimum", "median", "maximum"}
    assert read("compare runs/fast runs/one")["common_budget"]["latency_seconds"] == 300e-6
    assert read("watch runs/fast")["trials"][0]["latency_seconds"] > 0
    assert {entry["study"]: entry["best"]["latency_seconds"] is None for entry in read("ls runs")["studies"]} == {
        "fast": False,
        "one": True,
        "plain": True,
    }
    panels = [panel["x"] for panel in read("plot runs/fast --kind front")["panels"]]
    assert panels[2] == {"label": "latency", "unit": "seconds", "log": False}
    plain = read("show runs/plain")
    assert (
        plain["budget"]["device"] is plain["budget"]["latency_seconds"] is plain["trials"][0]["latency_seconds"] is None
    )


def test_csv_has_seconds_and_share(here: Path) -> None:
    head, first = shown("export runs/fast --top 1 --csv", PIPE).splitlines()
    row = dict(zip(head.split(","), first.split(","), strict=False))
    record = snapshot_of_study(here / "fast").ranked[0]
    assert float(row["latency_seconds"]) == record.latency_seconds
    assert float(row["latency_share"]) == record.latency_seconds / 300e-6
    assert "latency" not in shown("export runs/plain --top 1", PIPE)


def test_studies_of_different_devices_share_no_limit_of_latency(here: Path, tmp_path: Path) -> None:
    slow = dataclasses.replace(SERVER, name="slow")
    many_study(tmp_path, 12, "slow", budget={**LIMITED, "device": device_to_plain(slow)})
    text = shown(f"compare runs/fast {tmp_path / 'slow'}", 200)
    assert "predicted for different devices" in text
    data = json.loads(shown(f"compare runs/fast {tmp_path / 'slow'} --json", PIPE))
    assert data["common_budget"]["latency_seconds"] is None
    together = shown(f"compare runs/fast {tmp_path / 'slow'} --device server.yaml", 200)
    assert "predicted for different devices" not in together


def test_keys_of_watch_sort_by_latency_only_where_one_is_known(here: Path) -> None:
    for name, known in (("fast", True), ("plain", False)):
        ui = WatchUI(WatchedStudy(StudyFolder(here / name)))
        sorts = []
        for _ in range(7):
            sorts.append(ui.trials.sort)
            ui.trials.next_sort()
        assert ("latency" in sorts) == known


def test_a_shipped_device_is_offered_by_name_in_every_view_of_a_study(here: Path) -> None:
    for command in ("show runs/one", "trial runs/one 0", "plot runs/plain --kind front --x latency", "export runs/one"):
        assert "latency" in shown(f"{command} --device rpi5", PIPE)
    assert "estimated, not measured" in shown("show runs/one --device rpi5", WIDE)


@pytest.mark.parametrize("width", [NARROW, PIPE])
def test_a_limit_of_latency_holds_on_its_own_device_alone(here: Path, width: int) -> None:
    text, run = shown("show fast --device rpi5 --top 3", width), shown("show fast --top 3", width)
    assert text.splitlines()[0] == run.splitlines()[0]  # how far the run is follows from its own device
    assert "Lifted here, as it holds on that device alone: latency <= 300 µs on server." in text
    assert text.count("latency <= 300 µs") == 1
    assert "memory <= 1.37 MiB (reported accounting), re-sliced" in text
    assert "... and 55 more" in text  # of 58 that were trained


def test_state_and_done_are_those_of_the_run_on_every_device(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def data(*options: str) -> dict[str, Any]:
        assert main(["show", "fast", "--json", *options]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    run, other = data(), data("--device", "rpi5")
    for key in ("state", "done", "planned"):
        assert run[key] == other[key]
    assert run["lifted"] is None
    assert other["lifted"] == "latency <= 300 µs on server"
    assert other["budget"]["memory_bytes"] == run["budget"]["memory_bytes"]
    assert other["budget"]["latency_seconds"] is None
    assert data("--device", "server.yaml")["budget"] == run["budget"]
    assert data("--device", "rpi5", "--budget", "latency=1s")["lifted"] is None


def test_plot_says_which_limit_it_lifts(here: Path) -> None:
    assert "Lifted here" in shown("plot fast --device rpi5", WIDE)
    assert "Lifted here" not in shown("plot fast", WIDE)


def test_two_devices_are_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("show fast", "plot fast", "trial fast 3"):
        assert main([*command.split(), "--budget", "latency=1ms,device=rpi5", "--device", "avx2"]) == 2
        assert "must name one device" in capsys.readouterr().err
    assert main(["show", "fast", "--budget", "latency=1s,device=rpi5", "--device", "rpi5"]) == 0
