"""The two tables of `searcher watch`: who is training what, and what the trials came to."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from searcher.alerts import QUIET_SECONDS, SILENT_SECONDS
from searcher.numbers import age_text, count_text, size_text
from searcher.records import TrialRecord
from searcher.status import WorkerStatus
from searcher.views.candidate import factor_text, precision_text
from searcher.views.console import one_word
from searcher.views.grid import Cell, Column, grid
from searcher.views.marks import ALERT, CHOSEN, OUTCOMES, trial_marks
from searcher.views.strip import strip_heading, strip_text
from searcher.watching import WatchedStudy

WORKER_COLUMNS = (
    Column(" worker", least=9, cut=True),
    Column("trial", right=True),
    Column("phase", rank=2),
    Column("epoch", right=True),
    Column("step", right=True, least=7, rank=4),
    Column("Top-1 %", right=True),
    Column("loss", right=True, least=5, rank=3),
    Column("img/s", right=True, rank=1),
    Column("memory", right=True, least=8, rank=1),
    Column("heard", right=True, least=5),
)
TRIAL_COLUMNS = (
    Column("Top-1 %", right=True),
    Column("FP %", right=True, rank=4),
    Column("memory", right=True, least=9),
    Column("OPs", right=True, least=6),
    Column("hidden", right=True, rank=1),
    Column("MLP", right=True, rank=1),
)
MORE_TRIAL_COLUMNS = (
    Column("ended", right=True, least=6, rank=2),
    Column("outcome", least=13, rank=3),
    Column("worker", rank=5),
    Column("precision", least=30, cut=True, rank=6),
)


def worker_lines(
    workers: Sequence[WorkerStatus], chosen: int | None, now: float, width: int, plain: bool = False
) -> list[Text]:
    """A heading and a line a worker; `plain` for a pipe, where figures are one word each."""
    lines = grid(WORKER_COLUMNS, [_worker_row(worker, chosen, now, plain) for worker in workers], width)
    return _marked(lines, [worker.number for worker in workers], chosen, width)


def trial_lines(
    study: WatchedStudy, numbers: Sequence[int], chosen: int | None, now: float, width: int, plain: bool = False
) -> list[Text]:
    """A heading and a line a trial; `plain` for a pipe, where figures and precisions are one word each."""
    first = Column("mark trial" if plain else "    trial")
    strip = Column("bits" if plain else strip_heading(study.space.base.addresses))
    rows = [_trial_row(study, study.records[number], chosen, now, plain) for number in numbers]
    return _marked(grid((first, *TRIAL_COLUMNS, strip, *MORE_TRIAL_COLUMNS), rows, width), numbers, chosen, width)


def percent(accuracy: float | None) -> str:
    """Top-1 in %, one decimal, without its unit, which is the heading's."""
    return "-" if accuracy is None else f"{100 * accuracy:.1f}"


def _worker_row(worker: WorkerStatus, chosen: int | None, now: float, plain: bool) -> list[Cell]:
    memory = "-" if worker.memory_bytes is None else size_text(worker.memory_bytes)
    return [
        f"{_sign(worker.number, chosen)}{worker.worker.removeprefix('worker ') or 'starting'}",
        str(worker.number),
        worker.phase.upper() or "-",
        f"{worker.epoch}/{worker.epochs or '?'}" if worker.epoch else "-",
        f"{worker.step}/{worker.steps}" if worker.steps else "-",
        percent(worker.accuracy),
        "-" if worker.loss is None else f"{worker.loss:.3f}",
        "-" if worker.images_per_second is None else f"{worker.images_per_second:,.0f}",
        one_word(memory) if plain else memory,
        _heard(worker, now),
    ]


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


def _trial_row(study: WatchedStudy, record: TrialRecord, chosen: int | None, now: float, plain: bool) -> list[Cell]:
    ended, metrics, layers = study.finished.get(record.number), record.metrics, record.candidate.layers
    figures = [
        percent(None if metrics is None else metrics.accuracy),
        percent(None if metrics is None else metrics.parent_accuracy),
        size_text(record.memory_bytes),
        count_text(record.ops),
        factor_text(record.choices, "hidden"),
        factor_text(record.choices, "intermediate"),
    ]
    age = "-" if ended is None else age_text(max(0.0, now - ended))
    return [
        _marks(study, record, chosen).append(f"{record.number:>5}"),
        *(one_word(figure) if plain else figure for figure in figures),
        strip_text(layers, plain),
        one_word(age) if plain else age,
        Text(record.outcome, style=OUTCOMES[record.outcome].style),
        record.worker or "-",
        precision_text(layers),
    ]


def _marks(study: WatchedStudy, record: TrialRecord, chosen: int | None) -> Text:
    """Four columns: whether it is chosen, and the marks of every list."""
    standing = study.standing
    marks = Text(_sign(record.number, chosen))
    marks.append_text(trial_marks(record.outcome, standing.best is record, record.number in standing.on_front))
    marks.pad_right(4 - marks.cell_len)
    return marks


def _marked(lines: list[Text], numbers: Sequence[int], chosen: int | None, width: int) -> list[Text]:
    """The line of the chosen trial in the style of that."""
    for line, number in zip(lines[1:], numbers, strict=True):
        if number == chosen:
            line.pad_right(max(0, width - line.cell_len))
            line.stylize(CHOSEN.style)
    return lines
