"""How far a trial is, in the words of the live view of a search and of those who look at it from outside."""

from __future__ import annotations

import dataclasses
import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from searcher.events import EpochFinished, SearchStarted, TrialStarted
from searcher.files import write_json
from searcher.progress import SearchProgress
from searcher.records import EpochRecord
from searcher.status import STATUS_FILE, SearchStatus, WorkerStatus
from searcher.views.event_lines import position_text
from searcher.views.live import LiveSearch
from tests.searcher import studies
from tests.searcher.screens import NOW, screen


def test_a_worker_is_starting_until_it_says_in_which_epoch_it_is() -> None:
    told = WorkerStatus("worker 1", 3, "", 0, 0, 0, 0, NOW)
    assert position_text(told) == position_text(told, step=True) == "starting"
    told = replace(told, phase="fp", epoch=2)
    assert position_text(told, step=True) == "FP epoch 2"
    told = replace(told, phase="qat", epochs=5, step=7, steps=31)
    assert position_text(told) == "QAT epoch 2 of 5"
    assert position_text(told, step=True) == "QAT epoch 2 of 5, step 7 of 31"


def test_a_trial_whose_worker_has_not_spoken_is_starting_in_every_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with studies.running_study(tmp_path / "runs") as folder:
        silent = WorkerStatus("", 12, "", 0, 0, 0, 0, NOW - 3)
        write_json(folder.path / STATUS_FILE, dataclasses.asdict(SearchStatus(NOW, workers=(silent,))))
        assert "▶ trial 12  starting\n" in screen("show", "running")
        assert "now        starting; begun 3 s ago\n" in screen("trial", "running", "12")


def _frame(live: LiveSearch) -> str:
    """What the live view shows now."""
    with live.console.capture() as captured:
        live.console.print(live._render(), end="")
    return captured.get().strip()


def test_a_resumed_trial_is_in_no_phase_before_its_worker_speaks() -> None:
    space = studies.study_space()
    drawn = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=100)
    live = LiveSearch(drawn, SearchProgress(10, 5), space)
    assert _frame(live) == ""
    live.on_event(SearchStarted(5, 2, 10, 20, False))
    assert "2 of 5 trials" in _frame(live)
    assert "0 s elapsed" in _frame(live)
    for number in (3, 4):
        choices = {v.name: v.default for v in space.variables}
        live.on_event(TrialStarted(number, 2, "0123456789", choices, 1e5, 1e6, 2, 5))
    assert "starting" in _frame(live)
    assert "FP" not in _frame(live)
    assert "QAT" not in _frame(live)
    live.on_event(EpochFinished(3, EpochRecord("fp", 5, 10, 1.0, 1.0, 0.4, 4.0), "worker 1"))
    assert "trial 3 FP" in _frame(live)
