"""What `searcher watch` shows, as plain data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from searcher.alerts import alerts
from searcher.plain import budget_json, trial_json, worker_json
from searcher.records import Outcome, TrialRecord
from searcher.snapshot import State
from searcher.views.watch_ui import WatchUI
from searcher.watching import WatchedStudy


def watch_json(ui: WatchUI, now: float, top: int | None = None) -> dict[str, Any]:
    """The study as it stands: progress, who trains what, alerts, and the (first `top`) trials in their order."""
    study, standing = ui.study, ui.study.standing
    running = study.state is State.RUNNING
    end = now if running else None if study.ended is None else study.ended[0]
    return {
        "study": str(study.folder.path),
        "time": now,
        "state": study.state.value,
        "space_size": study.space.size,
        "feasible": study.started and study.started.feasible,
        "budget": budget_json(study.space.budget),
        "planned": study.planned,
        "done": standing.done,
        "outcomes": {o.value: standing.outcomes[o] for o in Outcome if standing.outcomes[o]},
        "best": None if standing.best is None else standing.best.number,
        "front": [record.number for record in standing.front],
        "started": study.since,
        "ended": None if running else end,
        "seconds": None if study.since is None or end is None else end - study.since,
        "remaining_seconds": None if study.status is None else study.status.remaining,
        "coordinator": study.holder and asdict(study.holder),
        "workers": [worker_json(worker) for worker in study.workers],
        "alerts": [asdict(alert) for alert in alerts(study, now)],
        "where": ui.trials.where,
        "sort": ui.trials.sort,
        "trials": [_trial_json(study, study.records[number]) for number in ui.trials.numbers[:top]],
    }


def _trial_json(study: WatchedStudy, record: TrialRecord) -> dict[str, Any]:
    return {**trial_json(record, study.space.budget), "ended": study.finished.get(record.number)}
