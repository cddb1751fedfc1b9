"""Budgets in milliseconds: exactness, what is refused, what is never trained, and studies on changing devices."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bhvit.cost import PICOSECONDS
from bhvit.device_file import device_yaml, load_device
from bhvit.device_profile import DeviceProfile
from bhvit.errors import InvalidInput
from bhvit.families import DEFAULT_FAMILY, FAMILIES
from bhvit.latency import seconds_by_layer
from searcher import feasible, grid, pricing
from searcher.budget import Budget, BudgetSection, Violation
from searcher.commands import search
from searcher.commands.arguments import within_budget
from searcher.coordinator import run_search
from searcher.device_profiles import device_id
from searcher.events import TrialStarted, events_of
from searcher.executors.executor import Report, TrialJob
from searcher.executors.threads import ThreadExecutor
from searcher.feasible import feasible_set, profile
from searcher.grid import Grid
from searcher.numbers import latency_text
from searcher.pricing import priced
from searcher.proposer import Proposer
from searcher.quantities import parse_seconds
from searcher.records import Metrics, Outcome, TrialRecord, read_record, write_record
from searcher.snapshot import snapshot_of
from searcher.space import Space, load_space
from searcher.study_database import StudyDatabase
from searcher.study_folder import StudyFolder
from searcher.study_tables import RowsOf
from searcher.trial_table import TrialTable
from searcher.watching import WatchedStudy
from tests.searcher.fake_training import fake_train
from tests.searcher.records import record_of, store
from tests.searcher.spaces import small_space
from tests.searcher.test_feasible import _every_regime

AVX512 = load_device("avx512")


def predicted(**budget: Any) -> Space:
    """A small space whose latencies are predicted."""
    return small_space(budget={"device": "avx512", **budget})


def seconds_of(space: Space) -> list[float]:
    """Latency of every configuration, one candidate at a time."""
    found = [space.cost_of(space.candidate(space.decode(i))).latency_seconds for i in range(space.size)]
    assert None not in found
    return [seconds for seconds in found if seconds is not None]


def half_as_fast(space: Space, **sections: Any) -> Space:
    """The space limited to the faster half of its configurations."""
    limit = sorted(seconds_of(space))[space.size // 2 - 1]
    return small_space(budget={"device": "avx512", "latency": f"{limit!r} s"}, **sections)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("40 ms", 0.04), ("35ms", 0.035), ("830 us", 0.00083), ("7 µs", 7e-6), ("7 μs", 7e-6), ("1.5 s", 1.5)],
)
def test_times_are_read_by_unit_to_the_nearest_double(text: str, seconds: float) -> None:
    assert parse_seconds(text, "latency") == seconds


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("40", "units: us, µs, ms, s"),
        ("40 MS", "capitals count, write '40 ms'"),
        ("40 m", "write '40 ms'"),
        ("40 min", "units: us"),
        ("40 MOPs", "units: us"),
        ("1 MiB", "units: us"),
        ("-1 ms", "units: us"),
        ("0 ms", "must be a positive amount"),
    ],
)
def test_wrong_units_of_time_are_explained(text: str, remedy: str) -> None:
    with pytest.raises(InvalidInput, match="latency must be") as error:
        predicted(latency=text)
    assert remedy in str(error.value)


def test_a_number_without_unit_is_a_share_with_a_reference_and_refused_without() -> None:
    with pytest.raises(
        InvalidInput, match=r"with its unit without relative_to, but it is 0\.5; add relative_to.*such as '40 ms'"
    ):
        predicted(latency=0.5)
    space = predicted(latency=0.5, relative_to={"precision": "fp32"})
    assert space.reference is not None
    assert space.budget.latency == 0.5 * (space.cost_of(space.reference).latency_seconds or 0)


def test_latency_without_a_device_names_the_shipped_ones() -> None:
    with pytest.raises(InvalidInput, match=r"budget: latency must be that of a device.*avx2, avx512 or rpi5"):
        small_space(budget={"latency": "40 ms"})
    with pytest.raises(InvalidInput, match="objective latency is that of a device"):
        small_space(search={"objectives": ["accuracy", "latency"]})
    with pytest.raises(InvalidInput, match=r"budget.device: unknown device 'avx51' \(did you mean 'avx512'\?\)"):
        small_space(budget={"device": "avx51"})


@pytest.mark.parametrize("value", [["avx512"], 7])
def test_a_device_is_a_name_a_path_or_a_profile(value: object) -> None:
    with pytest.raises(InvalidInput, match=r"budget.device must be a device's name \(avx2.*the path of a profile or a"):
        small_space(budget={"device": value})


def test_a_file_that_is_no_profile_or_not_there_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(small_space().to_yaml())
    with pytest.raises(InvalidInput, match=r"space.yaml must be a device profile, but it has neither"):
        small_space(budget={"device": str(tmp_path / "space.yaml")})
    with pytest.raises(InvalidInput, match=r"mine.yaml .* relative to the current folder, "):
        small_space(budget={"device": "mine.yaml"})


def test_limits_and_violations_of_latency_read_as_one_line() -> None:
    budget = Budget(memory=2**20, latency=0.04, device=AVX512)
    assert str(budget) == "memory <= 1.00 MiB, latency <= 40.0 ms on avx512 (reported accounting)"
    assert str(Violation("latency", 0.05, 0.04)) == "latency 50.0 ms exceeds 40.0 ms (+25.00%)"
    estimated = Budget(latency=0.04, device=load_device("rpi5"))
    assert str(estimated) == "latency <= 40.0 ms on rpi5 (estimated) (reported accounting)"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (8.3e-7, "0.83 µs"),
        (3.52e-4, "352 µs"),
        (9.996e-4, "1.00 ms"),
        (0.00831, "8.31 ms"),
        (0.0403, "40.3 ms"),
        (0.12, "120 ms"),
        (1.25, "1.25 s"),
        (0, "0 µs"),
    ],
)
def test_latencies_have_three_digits_and_a_unit(seconds: float, text: str) -> None:
    assert latency_text(seconds) == text


@pytest.mark.parametrize("block", [2**18, 13, 1])
def test_vectorised_latency_equals_every_candidate_exactly(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "BLOCK", block)
    regimes = _every_regime(DEFAULT_FAMILY, "reported")
    space = Space("s", dataclasses.replace(regimes.file, budget=BudgetSection(device=AVX512)))
    found = np.concatenate([b.latency_seconds for b in Grid(space).blocks() if b.latency_seconds is not None])
    assert list(found) == seconds_of(space)


def test_a_candidates_latency_is_the_sum_of_its_layers_within_half_a_picosecond_each() -> None:
    space = predicted()
    candidate = space.candidate(space.decode(7))
    layers = seconds_by_layer(candidate.architecture, candidate.layers, AVX512, FAMILIES[DEFAULT_FAMILY].seconds_of)
    report = space.cost_of(candidate)
    assert [row.address for row in report.layers] == list(layers)
    for row in report.layers:
        assert row.latency_seconds == pytest.approx(layers[row.address], abs=0.51 / PICOSECONDS)
    assert report.latency_seconds == pytest.approx(sum(layers.values()), rel=1e-9)
    twice = report.total + report.total
    assert twice == 2 * report.total
    assert twice.latency_seconds == pytest.approx(2 * (report.latency_seconds or 0), rel=1e-15)
    assert candidate.cost().latency_seconds is None


def test_a_latency_equal_to_the_limit_is_within_and_a_picosecond_more_is_not() -> None:
    free = predicted()
    seconds = sorted(seconds_of(free))
    for limit, count in ((seconds[20], 21), (seconds[20] - 1 / PICOSECONDS, 20)):
        space = predicted(latency=f"{limit!r} s")
        assert len(feasible_set(space)) == sum(s <= limit for s in seconds) == count
        assert profile(space).shares == {"latency": count / 36}
        assert profile(space).binds == "latency"


def test_profile_has_the_range_of_latencies_only_where_a_device_is_named() -> None:
    seconds = seconds_of(predicted())
    ranges = profile(predicted()).latency_seconds
    assert ranges is not None
    assert (ranges.minimum, ranges.median, ranges.maximum) == (min(seconds), np.median(seconds), max(seconds))
    assert profile(small_space()).latency_seconds is None


def test_a_sample_of_a_large_space_holds_the_fastest_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feasible, "ENUMERABLE", 10)
    monkeypatch.setattr(feasible, "SAMPLE", 2)
    fastest = min(seconds_of(predicted()))
    assert feasible_set(predicted()).latency_seconds.min() == fastest  # type: ignore[union-attr]


def test_candidates_over_the_latency_are_never_trained(in_memory: Path) -> None:
    space = half_as_fast(
        predicted(), search={"trials": 18, "pruner": "none"}, enqueue=[{"stage1*": "fp32", "hidden": 2}]
    )
    limit, trained = space.budget.latency, []

    def train(job: TrialJob, report: Report) -> Metrics:
        trained.append(job.candidate)
        return fake_train(job, report)

    summary = run_search(space, in_memory / "study", ThreadExecutor(train))
    assert limit is not None
    assert summary.trained == len(trained) == 18 < space.size
    assert all((space.cost_of(c).latency_seconds or 1) <= limit for c in trained)
    refused = summary.records[0]
    assert refused.outcome is Outcome.OVER_BUDGET
    assert refused.message.startswith("latency ")
    for record in summary.records:
        assert record.device == device_id(AVX512)
        assert record.latency_seconds == space.cost_of(record.candidate).latency_seconds
    started = list(events_of(TrialStarted, in_memory / "study" / "events.jsonl"))
    assert [e.latency_seconds for e in started] == [r.latency_seconds for r in summary.records[1:]]


def test_accuracy_and_latency_can_be_the_objectives(in_memory: Path) -> None:
    space = small_space(
        budget={"device": "avx512"}, search={"trials": 12, "pruner": "none", "objectives": ["accuracy", "latency"]}
    )
    summary = run_search(space, in_memory / "study", ThreadExecutor(fake_train))
    snapshot = snapshot_of(StudyFolder(in_memory / "study"))
    assert snapshot.front_costs == "latency"
    points = {(r.metrics.accuracy, r.latency_seconds) for r in summary.records if r.metrics}
    front = {(r.metrics.accuracy, r.latency_seconds) for r in snapshot.front if r.metrics}
    assert front == {p for p in points if not any(q[0] >= p[0] and q[1] <= p[1] and q != p for q in points)}
    rows = RowsOf(space).trial(summary.records[0])
    assert rows.values[1] == summary.records[0].latency_seconds == json.loads(rows.user["latency_seconds"])


def test_at_most_two_costs_are_objectives() -> None:
    with pytest.raises(InvalidInput, match="accuracy and at most 2 costs"):
        small_space(budget={"device": "avx512"}, search={"objectives": ["accuracy", "memory", "ops", "latency"]})


def test_a_device_that_limits_nothing_changes_no_proposal() -> None:
    plain, named = small_space(), predicted()
    proposals = [Proposer(s, feasible_set(s), 0).propose(3, _results(s), []) for s in (plain, named)]
    assert proposals[0] == proposals[1]
    assert named.fingerprint == plain.fingerprint


def _results(space: Space) -> Any:
    """What five trials taught."""
    from searcher.trial_table import _result

    records = [record_of(space, n, Outcome.COMPLETE) for n in (1, 7, 12, 20, 33)]
    return [_result(r, space.digits_of(r.choices)) for r in records]


def test_without_a_device_files_are_what_they_always_were(tmp_path: Path) -> None:
    space = small_space(budget={"memory": "1 MiB"})
    assert set(space.to_plain()["budget"]) == {"memory", "ops", "relative_to", "accounting"}
    record = record_of(space, 3)
    write_record(tmp_path, record)
    assert "latency" not in (tmp_path / "record.json").read_text()
    assert read_record(tmp_path) == record


def test_a_record_keeps_its_latency_and_by_which_profile(tmp_path: Path) -> None:
    record = dataclasses.replace(
        record_of(small_space(), 3), latency_seconds=0.012345678901, device="avx512-0123456789"
    )
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record


def study_of(tmp_path: Path, space: Space, count: int = 6) -> StudyFolder:
    """A study of trained trials that knew no device."""
    folder = StudyFolder(tmp_path / "study")
    folder.prepare()
    folder.space_file.write_text(space.to_yaml())
    store(folder, *(record_of(space, number, Outcome.COMPLETE) for number in range(count)))
    return folder


def test_trials_from_before_the_device_are_priced_without_parsing_their_candidates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = study_of(tmp_path, small_space())
    space = within_budget(folder.space(), "device=avx512")
    expected = seconds_of(predicted())[:6]
    with monkeypatch.context() as patch:
        patch.setattr("searcher.candidate.Candidate.from_json", lambda data: pytest.fail("a candidate was parsed"))
        records = priced(space, folder.records())
    assert [r.latency_seconds for r in records] == expected
    folder.space_file.write_text(space.to_yaml())
    for seen in (snapshot_of(folder).records, tuple(TrialTable(space, folder)), WatchedStudy(folder).records.values()):
        assert [r.latency_seconds for r in seen] == expected
    assert TrialTable(space, folder).results(9)[2].latency_seconds == expected[2]


def faster(device: DeviceProfile) -> DeviceProfile:
    """The same device, twice as fast."""
    return dataclasses.replace(device, coefficients={n: v / 2 for n, v in device.coefficients.items()})


def test_a_changed_profile_prices_old_trials_anew_and_the_search_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = predicted()
    folder = study_of(tmp_path, space)
    store(folder, *priced(space, folder.records()))
    other = Space(space.name, dataclasses.replace(space.file, budget=BudgetSection(device=faster(AVX512))))
    assert other.fingerprint == space.fingerprint  # may change, as limits may
    before, after = (priced(s, folder.records()) for s in (space, other))
    assert [b.latency_seconds / 2 for b in before] == pytest.approx([a.latency_seconds for a in after])
    search._answer_first(folder, other)
    said = capsys.readouterr().out
    assert device_id(faster(AVX512)) in said
    assert f"before by profile {device_id(AVX512)}" in said
    search._answer_first(folder, space)
    assert capsys.readouterr().out == ""


def test_the_database_follows_a_changed_profile(in_memory: Path) -> None:
    folder = StudyFolder(in_memory / "study")
    for device in (AVX512, faster(AVX512)):
        file = small_space(search={"trials": 4, "pruner": "none"}).file
        space = Space("s", dataclasses.replace(file, budget=BudgetSection(latency="1 s", device=device)))
        run_search(space, folder.path, ThreadExecutor(fake_train))
        database = StudyDatabase(folder, space, None)
        found = database.compare(folder.records())
        database.close()
        assert found is not None
        assert not found
    assert {r.device for r in folder.records()} == {device_id(AVX512)}  # as they were trained


def test_records_without_any_device_cost_nothing_to_price(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "Grid", lambda space: pytest.fail("a grid was made"))
    folder = study_of(tmp_path, small_space())
    known: list[TrialRecord] = folder.records()
    assert priced(folder.space(), known) == known


def test_a_study_is_whole_without_the_file_of_its_profile(tmp_path: Path) -> None:
    mine = dataclasses.replace(faster(AVX512), name="mine")
    path = tmp_path / "mine.yaml"
    path.write_text(device_yaml(mine))
    mine = load_device(path)  # three digits of every coefficient
    file = tmp_path / "space.yaml"
    file.write_text(small_space(budget={"device": str(path), "latency": "5 ms"}).to_yaml())
    path.unlink()
    assert load_space(file).device == mine
    assert load_space(file).budget.latency == 0.005


def test_budget_option_limits_latency_where_a_device_is_known_or_named() -> None:
    assert within_budget(predicted(), "latency=2ms").budget == Budget(latency=0.002, device=AVX512)
    assert within_budget(small_space(), "latency=2ms,device=avx512,memory=1MiB").budget.limits["latency"] == 0.002
    assert within_budget(predicted(latency="2 ms"), "latency=none").budget == Budget()
    with pytest.raises(InvalidInput, match="latency must be that of a device"):
        within_budget(small_space(), "latency=2ms")
    with pytest.raises(InvalidInput, match="--budget device: unknown device"):
        within_budget(small_space(), "latency=2ms,device=avx5122")
