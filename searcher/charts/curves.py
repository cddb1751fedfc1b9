"""Learning curves: of one trial in both phases, or of several beside each other."""

from __future__ import annotations

from collections.abc import Sequence

from searcher.charts.chart import ACCURACY, Axis, Chart, Figure, Form, Role, Rule, Series, Unit
from searcher.charts.trials import trial_points
from searcher.ranking import metrics_of
from searcher.records import EpochRecord, TrialRecord
from searcher.snapshot import StudySnapshot

EPOCHS = Axis("epoch", Unit.COUNT)
TOP = 5
MOST = 20  # curves that can be told apart


def curves_chart(epochs: Sequence[EpochRecord], parent_accuracy: float | None = None, title: str = "") -> Chart:
    """Validation accuracy by epoch through both phases, the best epoch of phase 2, and the FP parent's accuracy.

    Phase 2 begins where phase 1 ends; where the parent was trained by another trial it stands alone.
    """
    fp, qat = ([e for e in epochs if e.phase == phase] for phase in ("fp", "qat"))
    shift = max((e.epoch for e in fp), default=0)
    series = []
    if fp:
        series.append(_line("full precision (phase 1)", Role.FP, fp, 0))
    if qat:
        series.append(_line("quantized (phase 2)", Role.QAT, qat, shift))
        best = max(qat, key=lambda e: e.accuracy)
        name = f"best epoch: {best.epoch}, {100 * best.accuracy:.1f} %"
        series.append(Series(name, Role.BEST, (shift + best.epoch,), (best.accuracy,)))
    rules = [Rule("phase 2 begins", Role.SWITCH, "x", shift + 0.5)] if fp and qat else []
    if parent_accuracy is not None:
        name = f"full-precision parent {100 * parent_accuracy:.1f} %"
        rules.append(Rule(name, Role.PARENT, "y", parent_accuracy))
    return Chart(title, EPOCHS, ACCURACY, tuple(series), tuple(rules))


def curves_figure(snapshot: StudySnapshot, records: Sequence[TrialRecord]) -> Figure:
    """Curves of `records`: a chart with all details for one, a line each for several, in the order given."""
    without = [f"trial {r.number} ({r.outcome})" for r in records if not _has_curve(r)]
    notes = (f"No learning curve: {', '.join(without)}.",) if without else ()
    records = [r for r in records if _has_curve(r)]
    if not records:
        return Figure("curves", "", nothing=f"no learning curve of {', '.join(without) or 'any trial in the budget'}")
    if len(records) == 1:
        metrics = metrics_of(records[0])
        title = f"Learning curves of trial {records[0].number}"
        epochs = (*_parent_epochs(snapshot, records[0]), *_phase(records[0], "qat"))
        chart = curves_chart(epochs, metrics.parent_accuracy)
        return Figure("curves", title, (chart,), notes, trial_points(records))
    parents = [_parent_epochs(snapshot, r) for r in records]
    shift = max((e.epoch for epochs in parents for e in epochs), default=0)
    lines = []
    for index, (record, fp) in enumerate(zip(records, parents, strict=True)):
        places = [(e.epoch, e.accuracy) for e in fp] + [(shift + e.epoch, e.accuracy) for e in _phase(record, "qat")]
        name = f"trial {record.number}, {100 * metrics_of(record).accuracy:.1f} %"
        xs, ys = tuple(float(x) for x, _ in places), tuple(y for _, y in places)
        lines.append(Series(name, Role.RANK, xs, ys, Form.LINE, index=index))
    rules = (Rule("phase 2 begins", Role.SWITCH, "x", shift + 0.5),) if shift else ()
    chart = Chart("", EPOCHS, ACCURACY, tuple(lines[::-1]), rules)
    title = f"Learning curves of {len(records)} trials"
    return Figure("curves", title, (chart,), notes, trial_points(records))


def _has_curve(record: TrialRecord) -> bool:
    return record.metrics is not None and bool(record.metrics.epochs)


def _parent_epochs(snapshot: StudySnapshot, record: TrialRecord) -> list[EpochRecord]:
    """The epochs of phase 1: the trial's own, or those of the trial that trained its parent."""
    own, key = _phase(record, "fp"), metrics_of(record).parent_key
    if own:
        return own
    trainers = (r for r in snapshot.records if r.metrics and r.metrics.parent_key == key and r.metrics.parent_trained)
    return next((epochs for r in trainers if (epochs := _phase(r, "fp"))), [])


def _phase(record: TrialRecord, phase: str) -> list[EpochRecord]:
    return [e for e in metrics_of(record).epochs if e.phase == phase]


def _line(name: str, role: Role, epochs: Sequence[EpochRecord], shift: int) -> Series:
    xs = tuple(float(shift + e.epoch) for e in epochs)
    return Series(name, role, xs, tuple(e.accuracy for e in epochs), Form.LINE)
