"""The two tables of `searcher watch`: who is training what, and what the trials came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.text import Text

from searcher.numbers import age_text, size_text
from searcher.quantities import QUANTITIES
from searcher.records import TrialRecord
from searcher.status import QUIET_SECONDS, SILENT_SECONDS, WorkerStatus
from searcher.views.candidate import factor_text, precision_text
from searcher.views.console import one_word, plain_rows
from searcher.views.event_lines import PHASES
from searcher.views.grid import Cell, Column, cell_width, grid
from searcher.views.marks import ALERT, CHOSEN, OUTCOMES, trial_marks
from searcher.views.strip import strip_text, strips_heading
from searcher.watching import WatchedStudy

WORKER_COLUMNS = (
    Column(" worker", least=9, cut=24),
    Column("trial", right=True, least=5),
    Column("phase", least=5, rank=4),
    Column("epoch", right=True, least=5),
    Column("step", right=True, least=5, rank=6),
    Column("Top-1 %", right=True),
    Column("loss", right=True, least=5, rank=5),
    Column("img/s", right=True, least=5, rank=3),
    Column("memory", right=True, least=8, rank=3),
    Column("heard", right=True, least=5),
)
MODEL_COLUMN = Column("model", least=5, cut=24)  # where there are several
ROOMY = 92  # columns from which there is room for a latency, or the model, beside both width factors
WIDTHS = Column("hidden  MLP", right=True, rank=7)
OPS = Column("OPs", right=True, least=6)
LATENCY = Column("latency", right=True)  # where a device is known
TRIAL_COLUMNS = (
    Column("Top-1 %", right=True),
    Column("FP %", right=True, rank=4),
    Column("memory", right=True, least=9),
    OPS,
    LATENCY,
    Column("hidden", right=True),
    Column("MLP", right=True),
)
MORE_TRIAL_COLUMNS = (
    Column("ended", right=True, least=6, rank=2),
    Column("outcome", least=13, rank=3),
    Column("worker", rank=5),
    Column("precision", least=30, cut=30, rank=6),
)
PLAIN_WORKERS = ("trial", "phase", "epoch", "step", "Top-1%", "loss", "img/s", "memory", "heard", "worker")
PLAIN_TRIALS = (
    *("mark", "trial", "Top-1%", "FP%", "memory", "OPs", "hidden", "MLP", "bits", "ended", "outcome"),
    *("worker", "precision"),
)


class WorkerTable:
    """A row a worker; its columns never become narrower, so that nothing moves sideways as figures change."""

    def __init__(self) -> None:
        self._widest: dict[str, int] = {}

    def lines(
        self, study: WatchedStudy, workers: Sequence[WorkerStatus], chosen: int | None, now: float, width: int
    ) -> list[Text]:
        """A heading and a line a worker."""
        strip = Column(strips_heading(study.space.models), rank=8)
        model = (MODEL_COLUMN,) if study.space.mixed else ()
        columns = (*WORKER_COLUMNS, *model, WIDTHS, strip, Column("precision", least=30, cut=30, rank=9))
        rows = [_worker_row(study, worker, chosen, now, strip.heading) for worker in workers]
        for i, column in enumerate(columns):
            widest = max((cell_width(row[i]) for row in rows), default=0)
            self._widest[column.heading] = max(self._widest.get(column.heading, column.least), widest)
        held = [c if c.cut else replace(c, least=self._widest[c.heading]) for c in columns]
        return _marked(grid(held, rows, width), [worker.number for worker in workers], chosen, width)


def plain_workers(workers: Sequence[WorkerStatus], now: float) -> Text:
    """A heading and a line a worker, for a pipe."""
    rows = [[*map(one_word, _position(worker, now)), worker.worker] for worker in workers]
    return plain_rows(PLAIN_WORKERS, rows, range(len(PLAIN_WORKERS) - 1))


def trial_lines(study: WatchedStudy, numbers: Sequence[int], chosen: int | None, now: float, width: int) -> list[Text]:
    """A heading and a line a trial."""
    strip = Column(strips_heading(study.space.models))
    latency, mixed = study.space.device is not None, study.space.mixed
    together = (latency or mixed) and width < ROOMY  # both width factors in one column
    figures = [c for c in TRIAL_COLUMNS if latency or c is not LATENCY]
    if together:
        figures[-2:] = [Column("width", right=True)]
    if latency and mixed and together:
        figures[figures.index(OPS)] = replace(OPS, rank=1)
    rows = [_trial_row(study, study.records[n], chosen, now, strip.heading, together) for n in numbers]
    model = (MODEL_COLUMN,) if mixed else ()
    columns = (Column("    trial"), *model, *figures, strip, *MORE_TRIAL_COLUMNS)
    return _marked(grid(columns, rows, width), numbers, chosen, width)


def plain_trials(study: WatchedStudy, numbers: Sequence[int], now: float) -> Text:
    """A heading and a line a trial, for a pipe."""
    rows = []
    for number in numbers:
        record = study.records[number]
        figures = [one_word(figure) for figure in (*_figures(record), *_widths(study, record))]
        bits, words = strip_text(record.candidate.layers, plain=True).plain, precision_text(record.candidate.layers)
        ends = [one_word(_ended(study, record, now)), record.outcome.value, record.worker]
        marked = [_marks(study, record).plain, str(number), *_model(study, record)]
        rows.append([*marked, *figures, bits, *ends, words])
    heading = list(PLAIN_TRIALS)
    if study.space.device is not None:
        heading.insert(heading.index("OPs") + 1, LATENCY.heading)
    if study.space.mixed:
        heading.insert(heading.index("trial") + 1, MODEL_COLUMN.heading)
    right = [i for i in range(1, heading.index("bits")) if heading[i] != MODEL_COLUMN.heading]
    return plain_rows(heading, rows, right)


def percent(accuracy: float | None) -> str:
    """Top-1 in %, one decimal, without its unit, which is the heading's."""
    return "-" if accuracy is None else f"{100 * accuracy:.1f}"


def _worker_row(study: WatchedStudy, worker: WorkerStatus, chosen: int | None, now: float, heading: str) -> list[Cell]:
    record = study.records[worker.number]
    layers = record.candidate.layers
    return [
        f"{_sign(worker.number, chosen)}{_short(worker.worker) or 'starting'}",
        *_position(worker, now)[:-1],
        _heard(worker, now),
        *_model(study, record),
        "{:>6}  {:>3}".format(*_widths(study, record)),
        strip_text(layers, heading=heading),
        precision_text(layers),
    ]


def _position(worker: WorkerStatus, now: float) -> list[str]:
    """How far a worker is with its trial: a cell for each of the columns of figures."""
    return [
        str(worker.number),
        PHASES.get(worker.phase, worker.phase) or "-",
        f"{worker.epoch}/{worker.epochs or '?'}" if worker.epoch else "-",
        f"{worker.step}/{worker.steps}" if worker.steps else "-",
        percent(worker.accuracy),
        "-" if worker.loss is None else f"{worker.loss:.3f}",
        "-" if worker.images_per_second is None else f"{worker.images_per_second:,.0f}",
        "-" if worker.memory_bytes is None else size_text(worker.memory_bytes),
        _heard(worker, now).plain,
    ]


def _short(worker: str) -> str:
    """A name that says where the worker is (`worker 1 on node-3, cuda:0`), without what the heading says."""
    return worker.removeprefix("worker ") if " on " in worker else worker


def _sign(number: int, chosen: int | None) -> str:
    return CHOSEN.character if number == chosen else " "


def _heard(worker: WorkerStatus, now: float) -> Text:
    """How long ago a worker said something; marked where that is long."""
    if not worker.heard:
        return Text("-")
    silence = max(0.0, now - worker.heard)
    if silence > SILENT_SECONDS:
        return ALERT.text(age_text(silence))
    return Text(age_text(silence), style="yellow" if silence > QUIET_SECONDS else "")


def _trial_row(
    study: WatchedStudy, record: TrialRecord, chosen: int | None, now: float, heading: str, together: bool
) -> list[Cell]:
    """Its cells: the strip as it stands under `heading`, both width factors `together` or in two columns."""
    layers, widths = record.candidate.layers, _widths(study, record)
    marks = Text(_sign(record.number, chosen)).append_text(_marks(study, record))
    marks.pad_right(4 - marks.cell_len)
    return [
        marks.append(f"{record.number:>5}"),
        *_model(study, record),
        *_figures(record),
        *(["×".join(widths)] if together else widths),
        strip_text(layers, heading=heading),
        _ended(study, record, now),
        Text(record.outcome, style=OUTCOMES[record.outcome].style),
        _short(record.worker) or "-",
        precision_text(layers),
    ]


def _figures(record: TrialRecord) -> list[str]:
    """Accuracy of the trial and of its FP parent, and costs."""
    metrics = record.metrics
    return [
        percent(None if metrics is None else metrics.accuracy),
        percent(None if metrics is None else metrics.parent_accuracy),
        *(cost.text(cost.of(record)) for cost in QUANTITIES.values() if cost.of(record) is not None),
    ]


def _model(study: WatchedStudy, record: TrialRecord) -> list[str]:
    """The label of its model where there are several: a cell, or none."""
    return [study.space.model_of(record.choices).label] if study.space.mixed else []


def _widths(study: WatchedStudy, record: TrialRecord) -> list[str]:
    """Both factors; among several models `-` where this one is not scaled, as in other lists."""
    fixed = "-" if study.space.mixed else "1"
    return [factor_text(record.choices, name, fixed) for name in ("hidden", "intermediate")]


def _ended(study: WatchedStudy, record: TrialRecord, now: float) -> str:
    ended = study.finished.get(record.number)
    return "-" if ended is None else age_text(max(0.0, now - ended))


def _marks(study: WatchedStudy, record: TrialRecord) -> Text:
    standing = study.standing
    return trial_marks(record.outcome, standing.best is record, record.number in standing.on_front)


def _marked(lines: list[Text], numbers: Sequence[int], chosen: int | None, width: int) -> list[Text]:
    """The line of the chosen trial in the style of that."""
    for line, number in zip(lines[1:], numbers, strict=True):
        if number == chosen:
            line.pad_right(max(0, width - line.cell_len))
            line.stylize(CHOSEN.style)
    return lines
