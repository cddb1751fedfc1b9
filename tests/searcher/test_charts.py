"""What charts hold, against the records counted by hand; scales whose ticks are round; lines drawn with characters."""

from __future__ import annotations

import math
import operator
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searcher.budget import BudgetSection
from searcher.charts.accuracy import front_figure, history_figure
from searcher.charts.chart import Axis, Chart, Form, HeatMap, Parallel, Role, Series, Unit, cost_axis
from searcher.charts.choices import map_figure, parallel_figure
from searcher.charts.costs import budget_figure
from searcher.charts.curves import curves_chart, curves_figure
from searcher.records import EpochRecord, Outcome, TrialRecord
from searcher.snapshot import StudySnapshot, snapshot_of
from searcher.views.chart_text import chart_lines
from searcher.views.console import plain_text
from searcher.views.ticks import scale_of
from tests.searcher import studies


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudySnapshot:
    return snapshot_of(studies.many_study(tmp_path_factory.mktemp("runs"), 120))


def _chart(panel: object) -> Chart:
    assert isinstance(panel, Chart)
    return panel


def _accuracy(record: TrialRecord) -> float:
    assert record.metrics is not None
    return record.metrics.accuracy


def _series(chart: Chart, role: Role | Outcome, form: Form = Form.POINTS) -> Series:
    (found,) = (s for s in chart.series if s.role is role and s.form is form)
    return found


def _trained(study: StudySnapshot) -> list[TrialRecord]:
    return [r for r in study.records if r.outcome in (Outcome.COMPLETE, Outcome.STOPPED)]


def test_the_front_is_in_all_panels_what_no_trial_beats_in_everything(study: StudySnapshot) -> None:
    points = {r.number: (-_accuracy(r), r.memory_bytes, r.ops) for r in study.ranked}
    beaten = {a for a, own in points.items() for p in points.values() if p != own and all(map(operator.le, p, own))}
    for panel in front_figure(study, ("memory", "ops")).panels:
        assert set(_series(_chart(panel), Role.FRONT).trials) == set(points) - beaten


def test_the_staircase_never_lies_below_a_trial(study: StudySnapshot) -> None:
    chart = _chart(front_figure(study, ("memory",)).panels[0])
    steps = _series(chart, Role.BEST_SO_FAR, Form.STEPS)
    assert steps.x[-1] == study.budget.memory
    for record in _trained(study):
        reached = [y for x, y in zip(steps.x, steps.y, strict=True) if x <= record.memory_bytes and y is not None]
        assert reached[-1] >= _accuracy(record)


def test_under_a_tighter_budget_the_front_holds_no_trial_over_it(study: StudySnapshot) -> None:
    tight = study.under(BudgetSection(memory="256 KiB"))
    chart = _chart(front_figure(tight, ("memory",)).panels[0])
    assert max(_series(chart, Role.FRONT).x) <= 256 * 1024 < min(_series(chart, Outcome.OVER_BUDGET).x)
    assert [rule.value for rule in chart.rules] == [256 * 1024]


def test_the_reference_is_the_full_precision_network_of_the_base_widths(study: StudySnapshot) -> None:
    chart = _chart(front_figure(study, ("memory",)).panels[0])
    base = study.space.candidate(study.space.complete({"hidden": 1, "intermediate": 1})).parent
    assert _series(chart, Role.PARENT).x == (base.cost("reported").total.memory_bytes,)


def test_the_history_has_the_best_so_far_and_every_failure(study: StudySnapshot) -> None:
    chart = _chart(history_figure(study).panels[0])
    line = _series(chart, Role.BEST_SO_FAR, Form.STEPS)
    best, expected = 0.0, []
    for record in study.records:
        if record.outcome.trained and _accuracy(record) > best:
            best = _accuracy(record)
            expected.append((record.number, best))
    assert list(zip(line.x, line.y, strict=True)) == [*expected, (study.records[-1].number, best)]
    for outcome in (Outcome.DIVERGED, Outcome.OUT_OF_MEMORY, Outcome.CRASHED):
        failed = [r.number for r in study.records if r.outcome is outcome]
        if failed:
            assert _series(chart, outcome).trials == tuple(failed)
            assert set(_series(chart, outcome).y) == {None}


def test_every_trial_that_ended_is_one_point_of_the_budget_chart(study: StudySnapshot) -> None:
    chart = _chart(budget_figure(study).panels[0])
    numbers = [n for s in chart.series for n in s.trials]
    assert sorted(numbers) == [r.number for r in study.records if r.outcome.finished]
    levels = [s for s in chart.series if s.role is Role.LEVEL]
    accuracy = {r.number: _accuracy(r) for r in _trained(study)}
    for low, high in pairwise(levels):
        assert max(accuracy[n] for n in low.trials) <= min(accuracy[n] for n in high.trials)
        assert abs(len(low.trials) - len(high.trials)) <= 1


def test_equal_accuracies_are_one_class(tmp_path: Path) -> None:
    snapshot = snapshot_of(studies.one_trial_study(tmp_path))
    chart = _chart(budget_figure(snapshot).panels[0])
    assert [len(s.trials) for s in chart.series] == [1]


def test_the_map_has_the_mean_of_the_complete_trials_with_that_precision(study: StudySnapshot) -> None:
    means, shares = map_figure(study, 10).panels
    assert isinstance(means, HeatMap)
    assert isinstance(shares, HeatMap)
    assert set(means.rows) == set(study.space.base.addresses)
    complete = [r for r in study.ranked if r.outcome is Outcome.COMPLETE]
    assert len(complete) < len(study.ranked)
    for i, layer in enumerate(means.rows):
        for j, precision in enumerate(means.columns):
            having = [r for r in complete if r.candidate.layers[layer].name == precision]
            assert means.counts[i][j] == len(having)
            if having:
                assert means.values[i][j] == pytest.approx(sum(map(_accuracy, having)) / len(having))
                assert shares.values[i][j] == sum(r in complete[:10] for r in having) / 10
            else:
                assert means.values[i][j] is None


def test_parallel_coordinates_hold_the_choices_of_every_ranked_trial(study: StudySnapshot) -> None:
    (panel,) = parallel_figure(study, 10).panels
    assert isinstance(panel, Parallel)
    for number, digits in zip(panel.trials, panel.digits, strict=True):
        (record,) = (r for r in study.records if r.number == number)
        for variable, digit in zip(panel.variables, digits, strict=True):
            assert variable.choices[digit] == str(record.choices[variable.name])
    downsample = next(v for v in panel.variables if v.name == "downsample1")
    assert downsample.choices == ("binary", "int4", "int8", "fp16")
    took = Counter(r.choices["downsample1"] for r in study.ranked[:10])
    assert downsample.best == tuple(took[name] for name in downsample.choices)


def _epochs(phase: str, accuracies: list[float]) -> list[EpochRecord]:
    count = len(accuracies)
    return [EpochRecord(phase, i + 1, count, 1.0, 1.0, accuracy, 1.0) for i, accuracy in enumerate(accuracies)]


def test_phase_2_begins_where_phase_1_ends() -> None:
    chart = curves_chart([*_epochs("fp", [0.3, 0.5, 0.6]), *_epochs("qat", [0.4, 0.55])], parent_accuracy=0.6)
    assert _series(chart, Role.FP, Form.LINE).x == (1, 2, 3)
    assert _series(chart, Role.QAT, Form.LINE).x == (4, 5)
    assert _series(chart, Role.BEST).x == (5,)
    assert {rule.role: rule.value for rule in chart.rules} == {Role.SWITCH: 3.5, Role.PARENT: 0.6}


def test_a_trial_that_shares_its_parent_shows_the_epochs_of_the_one_that_trained_it(study: StudySnapshot) -> None:
    import dataclasses

    first = study.ranked[0]
    assert first.metrics is not None
    own = tuple(e for e in first.metrics.epochs if e.phase == "qat")
    sharing = dataclasses.replace(
        first, number=900, metrics=dataclasses.replace(first.metrics, epochs=own, parent_trained=False)
    )
    chart = _chart(curves_figure(study, [sharing]).panels[0])
    assert len(_series(chart, Role.FP, Form.LINE).x) == studies.FP_EPOCHS


def test_costs_far_apart_are_drawn_on_a_logarithmic_scale_but_never_with_a_zero() -> None:
    assert not cost_axis("memory", [100.0, 1000.0]).log
    assert cost_axis("memory", [100.0, 10_000.0]).log
    assert not cost_axis("memory", [0.0, 10_000.0]).log
    assert not cost_axis("memory", []).log


LARGEST = {Unit.ACCURACY: 1.0, Unit.BYTES: 1e12, Unit.OPS: 1e15, Unit.SECONDS: 1e4, Unit.COUNT: 1e6}


@given(st.data(), st.sampled_from(Unit), st.booleans(), st.integers(2, 15))
def test_scales_hold_all_values_with_few_round_ticks(data: st.DataObject, unit: Unit, log: bool, most: int) -> None:
    number = st.floats(0, LARGEST[unit]).map(round if unit in (Unit.COUNT, Unit.BYTES) else lambda v: round(v, 9))
    values = [float(v) for v in data.draw(st.lists(number, max_size=20))]
    scale = scale_of(Axis("x", unit, log), values, most)
    assert scale.low < scale.high
    assert all(-1e-9 <= scale.share(v) <= 1 + 1e-9 for v in values)
    ticks = [v for v, _ in scale.ticks]
    assert all(a < b for a, b in pairwise(ticks))
    assert len({text for _, text in scale.ticks}) == len(ticks) <= most + 1
    assert all(-0.01 <= scale.share(t) <= 1.01 for t in ticks)


def test_ticks_of_memory_are_round_in_binary_units() -> None:
    scale = scale_of(Axis("memory", Unit.BYTES), [0.0, 1.4 * 2**20], 8)
    assert scale.label == "memory (MiB)"
    assert [text for _, text in scale.ticks] == ["0", "0.25", "0.5", "0.75", "1", "1.25"]
    assert scale.ticks[1][0] == pytest.approx(2**18)


def test_an_axis_of_few_ticks_has_three_where_there_is_room() -> None:
    assert [text for _, text in scale_of(Axis("Top-1", Unit.ACCURACY), [0.22, 0.75], 5).ticks] == [
        *("30", "40", "50", "60", "70")
    ]


def test_ticks_of_epochs_are_whole_numbers() -> None:
    assert [text for _, text in scale_of(Axis("epoch", Unit.COUNT), [1, 2, 3], 12).ticks] == ["1", "2", "3"]


def test_a_rising_line_rises_and_its_ends_are_at_the_edges() -> None:
    xs = tuple(float(i) for i in range(11))
    chart = Chart(
        "",
        Axis("x", Unit.COUNT),
        Axis("y", Unit.COUNT),
        (Series("line", Role.QAT, xs, tuple(10 * x for x in xs), Form.LINE),),
    )
    rows = [line.plain for line in chart_lines(chart, 40, 10)][1:11]
    places = [min(i for i, c in enumerate(row) if "\u2800" < c <= "\u28ff") for row in rows]
    assert places == sorted(places, reverse=True)
    assert places[0] - places[-1] > 25


def test_a_mark_stands_at_its_value() -> None:
    """Row and column follow from the scale: of 11 rows from 0 to 10 with padding the middle one is 5."""
    series = Series("point", Outcome.COMPLETE, (5.0,), (5.0,))
    frame = Series("frame", Outcome.STOPPED, (0.0, 10.0), (0.0, 10.0))
    chart = Chart("", Axis("x", Unit.COUNT), Axis("y", Unit.COUNT), (frame, series))
    rows = [line.plain for line in chart_lines(chart, 45, 11)][1:12]
    assert [i for i, row in enumerate(rows) if "●" in row] == [5]
    middle = rows[5].index("●") - rows[5].index("│" if "│" in rows[5] else "┤") - 1
    assert abs(middle / (45 - rows[5].index("┤" if "┤" in rows[5] else "│")) - 0.5) < 0.06


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_one_point_or_all_equal_values_are_drawn(value: float) -> None:
    chart = Chart(
        "flat",
        cost_axis("memory", [value, value]),
        Axis("Top-1", Unit.ACCURACY),
        (Series("point", Outcome.COMPLETE, (value, value), (value, value)),),
    )
    assert "●" in "\n".join(line.plain for line in chart_lines(chart, 60))


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        Series("bad", Role.QAT, (1.0,), (math.nan,))


def test_charts_print_as_part_of_other_views() -> None:
    from searcher.views.chart_text import chart_text

    text = plain_text(chart_text(curves_chart(_epochs("qat", [0.1, 0.2])), height=5), width=60)
    assert "quantized (phase 2)" in text
    assert max(map(len, text.splitlines())) <= 60
