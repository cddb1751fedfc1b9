"""One trial: what it came to, map of precisions, curves, cost against the budget, history, files, what to do next."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from searcher.model_space import MODEL
from searcher.numbers import duration_text, percent_text, size_text
from searcher.plain import costs_json, trial_json, worker_json
from searcher.quantities import QUANTITIES
from searcher.ranking import metrics_of
from searcher.records import Outcome
from searcher.trial_report import CRASH_FILE, BudgetShare, TrialReport
from searcher.views.candidate import model_text, precision_text
from searcher.views.chart_text import chart_text
from searcher.views.console import table
from searcher.views.cost import cost_json, footer, layer_table
from searcher.views.event_lines import position_text
from searcher.views.layout import Beside, facts, section, suggestions
from searcher.views.marks import BAR, BEST, BEYOND, FRONT, OUTCOMES, WITHIN
from searcher.views.precision_map import precision_legend, precision_map
from searcher.views.study_header import device_line

BAR_WIDTH = 16
CRASH_LINES = 25  # of a crash's text, the last ones


def trial_view(report: TrialReport, program: str = "searcher") -> RenderableType:
    """Everything of a trial; `program` is how the user calls us."""
    record, cost = report.record, report.cost
    head: list[RenderableType] = [_title(report), facts(_facts(report))]
    if report.crash:
        head += section(f"The end of {CRASH_FILE}", *_crash(report.crash))
    legend = precision_legend(row.precision for row in cost.layers)
    precisions = section("Precision of every layer", precision_map(record.candidate, cost), legend)
    budget = section("Budget", _budget(report))
    chart = "no epoch has ended" if report.curves is None else chart_text(report.curves, height=10)
    curves = section("Learning curves", chart)
    heading = f"Cost by layer ({cost.accounting} accounting)"
    layers = section(heading, layer_table(cost), "", *footer(record.candidate, cost, report.snapshot.space.device))
    history = (*section("Starts", _attempts(report)), *section("Files", _files(report)))
    return Group(
        *head,
        Beside((*precisions, *budget), curves),
        Beside(layers, (*history, *section("Next", *_next(report, program)))),
    )


def report_json(report: TrialReport) -> dict[str, Any]:
    """The same as plain data."""
    record, metrics, better = report.record, report.record.metrics, report.better
    return {
        "study": str(report.snapshot.folder.path),
        **trial_json(record, report.snapshot.budget),
        "parent": metrics
        and {"key": metrics.parent_key, "trained_here": metrics.parent_trained, "trial": report.parent_trial},
        "rank": report.rank,
        "ranked": len(report.snapshot.ranked),
        "on_front": report.on_front,
        "next_better": better and costs_json(better),
        "test": report.test and asdict(report.test),
        "budget": {"accounting": report.snapshot.budget.accounting, "limits": [_share_json(s) for s in report.shares]},
        "cost": cost_json(record.candidate, report.cost),
        "epochs": [asdict(epoch) for epoch in report.epochs],
        "starts": [asdict(attempt) for attempt in report.attempts],
        "now": report.worker and worker_json(report.worker),
        "files": [{"path": str(path), "size_bytes": size} for path, size in report.files],
        "parent_files": [{"path": str(path), "size_bytes": size} for path, size in report.parent_files],
        "crash": report.crash,
        "again": report.again,
    }


def _title(report: TrialReport) -> Text:
    record = report.record
    title = Text.assemble((f"Trial {record.number}", "bold"), f" of {report.snapshot.folder.path}  ")
    return title.append_text(OUTCOMES[record.outcome].text(record.outcome.value))


def _facts(report: TrialReport) -> Iterator[tuple[str, RenderableType]]:
    record, metrics = report.record, report.record.metrics
    if record.message:
        yield "because", record.message
    if report.worker is not None:
        yield "now", _now(report)
    elif record.outcome in (Outcome.RUNNING, Outcome.INTERRUPTED) and report.snapshot.holder is None:
        yield "now", "nobody is at work on the study; its search command goes on with this trial"
    if metrics is not None:
        qat = [epoch for epoch in metrics.epochs if epoch.phase == "qat"]
        of = f" of {qat[-1].epochs}, stopped after {len(qat)}" if qat and len(qat) < qat[-1].epochs else ""
        of = of or (f" of {len(qat)}" if qat else "")
        last = f", last epoch {percent_text(metrics.final_accuracy)}"
        yield (
            "Top-1",
            Text.assemble((percent_text(metrics.accuracy), "bold"), f" in epoch {metrics.best_epoch}{of}{last}"),
        )
        yield "FP parent", _parent(report)
    if report.test is not None:
        yield "test", f"{percent_text(report.test.accuracy)} Top-1 on {report.test.images:,} images"
    if metrics is not None:
        yield "rank", _rank(report)
    if report.snapshot.space.mixed:
        yield "model", model_text(str(record.choices[MODEL]), record.candidate.family)
    widths = [f"{name} {value:g}" for name, value in record.choices.items() if not isinstance(value, str)]
    yield "widths", ", ".join(widths) or "those of the base model"
    yield "precision", precision_text(record.candidate.layers)
    yield "candidate", record.candidate.id
    if (device := report.snapshot.space.device) is not None:
        yield "device", device_line(device)
    if metrics is not None and metrics.restarts:
        times = "once" if metrics.restarts == 1 else f"{metrics.restarts} times"
        yield "restarts", f"its loss became NaN or infinite {times}; it went on from its last good epoch"
    if record.peak_bytes is not None:
        yield "peak", f"{size_text(record.peak_bytes)} of memory in use"


def _now(report: TrialReport) -> str:
    now = report.worker
    assert now is not None
    said = [position_text(now, step=True)]
    if now.accuracy is not None:
        said.append(f"Top-1 {percent_text(now.accuracy)}")
    if now.loss is not None:
        said.append(f"loss {now.loss:.3f}")
    if now.images_per_second is not None:
        said.append(f"{now.images_per_second:.0f} images/s")
    if now.memory_bytes is not None:
        said.append(size_text(now.memory_bytes))
    heard = f"{now.worker}, heard" if now.worker else "begun"
    return f"{', '.join(said)}; {heard} {duration_text(max(0.0, time.time() - now.heard))} ago"


def _parent(report: TrialReport) -> str:
    metrics = metrics_of(report.record)
    drop = 100 * (metrics.accuracy - metrics.parent_accuracy)
    side = "above" if drop > 0 else "below"
    if metrics.parent_trained:
        origin = "trained by this trial"
    elif report.parent_trial is not None:
        origin = f"shared, trained by trial {report.parent_trial}"
    else:
        origin = "shared, trained before"
    return f"{percent_text(metrics.parent_accuracy)} ({origin}); Top-1 is {abs(drop):.1f} points {side} it"


def _rank(report: TrialReport) -> Text:
    if report.rank is None:
        return Text("none: it is over the budget")
    text = Text(f"{report.rank} of {len(report.snapshot.ranked):,} within the budget")
    if report.rank == 1:
        text.append("  ").append_text(BEST.text("best"))
    if report.on_front:
        text.append("  ").append_text(FRONT.text("on the Pareto front"))
    if report.better is not None:
        gap = 100 * (metrics_of(report.better).accuracy - metrics_of(report.record).accuracy)
        text.append(f"; next better: trial {report.better.number} ({gap:+.1f} points)")
    return text


def _crash(text: str) -> Iterator[RenderableType]:
    lines = text.rstrip().splitlines()
    if len(lines) > CRASH_LINES:
        yield Text(f"({len(lines) - CRASH_LINES} lines before)", style="dim")
    yield Text("\n".join(lines[-CRASH_LINES:]))


def _budget(report: TrialReport) -> RenderableType:
    if not report.shares:
        return "no limit"
    right = [(name, "right") for name in ("used", "limit", "share")]
    result = table("quantity", *right, "", "left")
    for share in report.shares:
        over = share.used > share.limit
        quantity = QUANTITIES[share.quantity]
        left = quantity.amount(abs(share.left))
        mark = BEYOND.text(f"{left} over") if over else WITHIN.text(f"{left} left")
        used, limit = (quantity.amount(value) for value in (share.used, share.limit))
        filled = min(BAR_WIDTH, round(BAR_WIDTH * share.share))
        style = (BEYOND if over else WITHIN).style
        bar = Text.assemble((BAR * filled, style), ("·" * (BAR_WIDTH - filled), "dim"))
        result.add_row(quantity.label, used, limit, f"{share.share:.1%}", bar, mark)
    return result


def _attempts(report: TrialReport) -> RenderableType:
    if not report.attempts:
        never = report.record.outcome in (Outcome.WAITING, Outcome.OVER_BUDGET)
        return "never started" if never else f"{report.record.attempts}; the log of events does not have them"
    result = table(("start", "right"), ("at", "right"), ("took", "right"), ("epochs", "right"), "ended", "worker")
    for attempt in report.attempts:
        seconds = attempt.seconds
        result.add_row(
            str(attempt.number),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(attempt.started)),
            duration_text(time.time() - attempt.started if seconds is None else seconds),
            str(attempt.epochs),
            attempt.end or "still running",
            attempt.worker or report.record.worker or "-",
        )
    return result


def _files(report: TrialReport) -> RenderableType:
    files: Sequence[tuple[Path, int]] = (*report.files, *report.parent_files)
    if not files:
        return "none"
    result = table("file", ("size", "right"))
    for path, size in files:
        result.add_row(str(path), size_text(size))
    return result


def _next(report: TrialReport, program: str) -> Iterator[RenderableType]:
    study, number = str(report.snapshot.folder.path), str(report.record.number)
    commands = [("train the same candidate again, with the same recipe and seed", report.again)]
    commands.append(("its space file, of this one candidate", ["export", study, "--trial", number]))
    if report.better is not None:
        commands.append(("what the next better one has", ["diff", study, number, str(report.better.number)]))
    if report.record.outcome.trained and report.test is None:
        commands.append(("its accuracy on the test split, read once", ["evaluate", study, number]))
    return suggestions(program, commands)


def _share_json(share: BudgetShare) -> dict[str, Any]:
    return {**asdict(share), "share": share.share, "left": share.left}
