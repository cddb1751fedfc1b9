"""The screens of `searcher watch`, whole; its keys; its log, JSON and exit codes."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from searcher.cli import main
from searcher.status import WorkerStatus
from searcher.study_folder import StudyFolder
from searcher.views.strip import strip_text
from searcher.views.watch import WatchView
from searcher.views.watch_head import alert_lines
from searcher.views.watch_rows import WorkerTable, trial_lines
from searcher.views.watch_ui import WatchUI
from searcher.watching import WatchedStudy
from tests.searcher import studies
from tests.searcher.screens import NOW, assert_golden, screen, terminal

SIZES = ((80, 24), (100, 40), (200, 60))


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `runs/` of studies that nobody is at work on."""
    folder = tmp_path_factory.mktemp("watch")
    studies.many_study(folder / "runs")
    studies.many_study(folder / "runs", 60, "few")
    for build in (
        studies.two_objectives_study,
        studies.one_trial_study,
        studies.empty_study,
        studies.other_schema_study,
    ):
        build(folder / "runs")
    return folder


@pytest.fixture
def runs(built: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of studies by a path that is short and always the same."""
    monkeypatch.chdir(built)
    return Path("runs")


class Session:
    """Someone at a terminal without a terminal: presses keys, sees frames."""

    def __init__(self, folder: StudyFolder, width: int = 100, height: int = 40) -> None:
        self.study, self.size = WatchedStudy(folder), (width, height)
        self.ui = WatchUI(self.study)
        self.view = WatchView(self.ui)
        self.now = NOW

    def press(self, *keys: str) -> str:
        """The screen after the last of the keys."""
        text = self.screen()
        for key in keys:
            assert self.ui.press(key, self.now)
            text = self.screen()
        return text

    def screen(self) -> str:
        width, height = self.size
        console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
        with terminal(width, height, now=self.now):
            frame = self.view.frame(console, width, height, self.now)
        self.ui.page, self.ui.scroll_limit = frame.page, frame.scroll_limit
        assert len(frame.lines) == height
        assert max(line.cell_len for line in frame.lines) <= width
        return "".join(f"{line.plain.rstrip()}\n" for line in frame.lines)


def shown(text: str) -> list[int]:
    """Numbers of the listed trials."""
    return [int(n) for n in re.findall(r"^[ >][~↑∞!×‖★◆ ]{3} +(\d+) ", text.partition("    trial  ")[2], re.MULTILINE)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_screen_of_a_running_study(runs: Path, width: int, height: int) -> None:
    with studies.running_study(runs) as folder:
        assert_golden(f"watch_running_{width}x{height}", Session(folder, width, height).screen())


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_screen_of_a_finished_study(runs: Path, width: int, height: int) -> None:
    assert_golden(f"watch_many_{width}x{height}", Session(StudyFolder(runs / "many"), width, height).press("j", "j"))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_screen_of_an_empty_study(runs: Path, width: int, height: int) -> None:
    assert_golden(f"watch_empty_{width}x{height}", Session(StudyFolder(runs / "empty"), width, height).screen())


def test_screen_of_the_help(runs: Path) -> None:
    assert_golden("watch_help_80x24", Session(StudyFolder(runs / "empty"), 80, 24).press("?"))


def test_screen_of_two_objectives(runs: Path) -> None:
    assert_golden("watch_front_100x40", Session(StudyFolder(runs / "front")).press("s"))


def test_screen_once_in_a_terminal_and_in_a_pipe(runs: Path) -> None:
    assert_golden("watch_once_100", screen("watch", "few", "--once", width=100))
    piped = screen("watch", "few", "--once", "--where", "accuracy>60%", "--sort", "ops", tty=False)
    assert_golden("watch_once_piped", piped)
    assert "…" not in piped


def test_screen_of_a_search_that_died(runs: Path) -> None:
    with studies.running_study(runs) as folder:
        pass
    assert_golden("watch_died_100x40", Session(folder).screen())


@pytest.mark.parametrize(("width", "height"), [(1, 1), (10, 3), (30, 8), (500, 200)])
def test_no_size_is_too_small_or_too_large(runs: Path, width: int, height: int) -> None:
    with studies.running_study(runs) as folder:
        session = Session(folder, width, height)
        session.press("j", "enter", "esc", "?", "esc", "/", "esc")


class TestKeys:
    @pytest.fixture
    def session(self, runs: Path) -> Session:
        return Session(StudyFolder(runs / "few"))

    def test_the_choice_moves_within_the_list_and_stays_on_its_trial(self, session: Session) -> None:
        newest = session.ui.trials.numbers
        session.press("j")
        assert session.ui.chosen == newest[0]
        session.press("down", "j", "k")
        assert session.ui.chosen == newest[1]
        text = session.press("s")
        assert session.ui.chosen == newest[1]
        assert re.search(rf"^>.* {newest[1]} ", text, re.MULTILINE)
        session.press("home", "up")
        assert session.ui.chosen == session.ui.trials.numbers[0]
        text = session.press("end", "down")
        assert session.ui.chosen == session.ui.trials.numbers[-1]
        assert shown(text)[-1] == session.ui.chosen

    def test_a_page_is_what_the_screen_holds(self, session: Session) -> None:
        first = shown(session.press("g"))
        text = session.press("home", "pagedown")
        assert session.ui.chosen == first[-1]
        assert shown(text)[0] > 0

    def test_trials_are_sorted_and_reversed(self, session: Session) -> None:
        assert "60 trials, newest first" in session.screen()
        assert "60 trials, by accuracy, largest first" in session.press("s")
        text = session.press("r")
        assert "60 trials, by accuracy, smallest first" in text
        assert shown(text) == session.ui.trials.numbers[: len(shown(text))]

    def test_a_filter_is_written_and_forgotten(self, session: Session) -> None:
        text = session.press("/", *"hidden>=3", "enter")
        expected = {n for n, r in session.study.records.items() if r.choices["hidden"] >= 3}
        assert set(shown(text)) == expected
        assert f"{len(expected)} of 60 trials with hidden>=3, newest first" in text
        assert "60 trials, newest first" in session.press("esc")
        assert "none satisfies the filter" in session.press("/", *"hidden>9", "enter")

    def test_a_wrong_filter_is_told_and_can_be_mended(self, session: Session) -> None:
        text = session.press("/", *"hiden>=3", "enter")
        assert "▲ unknown field 'hiden' (did you mean 'hidden'?)" in text
        assert "show only trials with: hiden>=3" in text
        assert "with hidden>=3" in session.press("ctrl-u", *"hidden>=", "backspace", *"=3", "enter")

    def test_keys_of_commands_are_letters_while_a_filter_is_written(self, session: Session) -> None:
        assert "show only trials with: qpsr?j" in session.press("/", *"qpsr?j")
        assert "60 trials, newest first" in session.press("esc")

    def test_a_trial_is_opened_scrolled_and_left(self, session: Session) -> None:
        text = session.press("j", "enter")
        assert f"Trial {session.ui.chosen} of runs/few" in text
        assert "lines 1 to 37 of" in text
        assert "lines 2 to 38 of" in session.press("j")
        last = session.press("end", "j", "j")
        assert last == session.press("j")
        assert last != session.press("k")
        assert "newest first" in session.press("esc")

    def test_the_first_key_chooses_the_first_row_or_the_last(self, runs: Path) -> None:
        with studies.running_study(runs) as folder:
            for keys, rows in (
                (["down"], slice(0, 1)),
                (["down", "down", "down"], slice(2, 3)),
                (["G"], slice(-1, None)),
            ):
                session = Session(folder)
                screen = session.press(*keys)
                listed = [*(worker.number for worker in session.study.workers), *session.ui.trials.numbers]
                assert [session.ui.chosen] == listed[rows]
                assert [line[0] for line in screen.splitlines() if f" {session.ui.chosen} " in line[:34]].count(
                    ">"
                ) == 1

    def test_enter_without_a_choice_opens_nothing(self, session: Session) -> None:
        assert "newest first" in session.press("enter")

    def test_a_paused_display_says_so_and_stands_still(self, session: Session) -> None:
        session.press("p")
        before = session.screen()
        session.now += 60
        assert session.screen() == before
        assert "PAUSED at 08:00:00, the search goes on (p)" in before
        assert "PAUSED" not in session.press("p")
        assert "08:01:00" in session.screen()

    def test_q_ends(self, session: Session) -> None:
        assert not session.ui.press("q", NOW)


def test_a_trial_that_is_removed_while_it_is_open_is_closed(runs: Path) -> None:
    session = Session(StudyFolder(runs / "few"))
    session.press("j", "enter")
    del session.study.records[session.ui.opened or 0]
    session.study.version += 1
    assert "59 trials, newest first" in session.screen()
    session.press("j", "j")
    assert session.ui.chosen == session.ui.trials.numbers[1]  # keys are those of the list again


def test_a_worker_can_be_chosen_and_its_trial_opened(runs: Path) -> None:
    with studies.running_study(runs) as folder:
        session = Session(folder)
        assert ">2 on gpu-node-1" in session.press("j", "j")
        assert "Trial 13 of runs/running  ▶ running" in session.press("enter")


def test_silence_is_marked_by_a_word_and_by_a_mark(runs: Path) -> None:
    with studies.running_study(runs) as folder:
        session = Session(folder, 100, 40)
        session.now = NOW + 290
        text = session.screen()
        assert re.search(r"^ 1 on .* 5 min( |$)", text, re.MULTILINE)
        assert re.search(r"^ 2 on .*▲ 6 min( |$)", text, re.MULTILINE)


def moved(worker: WorkerStatus, step: int) -> WorkerStatus:
    return replace(worker, step=step, steps=9999, images_per_second=11.0**step, heard=NOW - 11 * step)


def test_nothing_moves_sideways_while_figures_change(runs: Path) -> None:
    with studies.running_study(runs) as folder:
        study, table = WatchedStudy(folder), WorkerTable()
        workers = study.workers
        heads = [
            table.lines(study, [moved(w, step) for w in workers], None, NOW, 200)[0].plain for step in (4, 0, 1, 3)
        ]
    assert len(set(heads)) == 1


def test_a_strip_is_never_cut_at_80_columns(runs: Path) -> None:
    study = WatchedStudy(StudyFolder(runs / "few"))
    study.records[5] = replace(study.records[5], ops=617_900.0)
    row = next(line.plain for line in trial_lines(study, [4, 5, 6], None, NOW, 80)[2:])
    assert row.rstrip().endswith(strip_text(study.records[5].candidate.layers).plain)
    assert "617.9 k" in row


def test_what_is_long_is_wrapped_and_not_cut(runs: Path) -> None:
    screen = Session(StudyFolder(runs / "many"), 80, 24).screen()
    assert "× 7 crashed" in screen
    assert "…" not in screen
    study = WatchedStudy(StudyFolder(runs / "few"))
    number = next(iter(study.failed))
    study.failed = {number}
    study.records[number] = replace(study.records[number], message="word " * 25 + "end")
    study.losses.clear()
    lines = [line.plain for line in alert_lines(study, NOW, 3, 80)]
    assert [len(lines), lines[2].endswith("word end"), max(map(len, lines)) <= 80] == [3, True, True]


def test_once_is_one_screen_and_top_says_how_many(runs: Path) -> None:
    assert screen("watch", "many", "--once", width=100).count("\n") == 39  # the prompt takes the last line
    for arguments, rows in (((), 20), (("--top", "3"), 3)):
        lines = screen("watch", "many", "--once", *arguments, tty=False).splitlines()
        head = next(i for i, line in enumerate(lines) if line.startswith("mark "))
        assert lines[-1] == f"... and {500 - rows} more: --top 500"
        assert len(lines) - 2 - head == rows
    assert len(json.loads(screen("watch", "many", "--json", "--top", "3", tty=False))["trials"]) == 3


def test_piped_rows_have_as_many_words_as_their_heading(runs: Path) -> None:
    with studies.running_study(runs):
        lines = screen("watch", "running", "--once", tty=False).splitlines()
    table = lines.index(next(line for line in lines if line.split()[:2] == ["trial", "phase"]))
    words = "12 QAT 3/5 12/31 47.1 1.402 512 3.20GiB 1s worker 1 on gpu-node-1, cuda:0"
    assert lines[table + 1].split() == words.split()
    trials = lines[lines.index(next(line for line in lines if line.startswith("mark "))) + 1 :]
    assert trials[0].split()[:6] == ["∞", "11", "-", "-", "291.3KiB", "7.15M"]


def test_json_is_the_screen_as_data(runs: Path) -> None:
    with studies.running_study(runs):
        data = json.loads(screen("watch", "running", "--json", "--sort", "accuracy", tty=False))
    assert (data["view"], data["state"], data["done"], data["planned"]) == ("watch", "running", 12, 40)
    assert data["remaining_seconds"] == 1750.0
    assert next((w["trial"], w["phase"], w["memory_bytes"]) for w in data["workers"]) == (12, "qat", 3.2 * 2**30)
    assert data["trials"][0]["trial"] == data["best"]
    assert data["alerts"][1]["outcome"] == "diverged"


def test_a_study_that_nobody_searches_is_one_line_in_a_pipe(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "one"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "runs/one done: 1 of 1 trials, ★ 58.5 % best Top-1: trial 0" in out
    assert main(["watch", "empty"]) == 1


def test_wrong_input_is_one_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        (["nothing"], "must be the folder of a study"),
        (["one", "--where", "hidden>"], "expected a value"),
        (["one", "--sort", "acuracy"], "did you mean 'accuracy'?"),
        (["one", "--where", "hidden>1"], "add --once or --json"),
        (["one", "--top", "3"], "--top says how many trials --once or --json list"),
        (["one", "--once", "--top", "0"], "must be a whole number of at least 1"),
        (["later"], "a trial record must have schema 2"),
    ):
        assert main(["watch", *arguments]) == 2
        captured = capsys.readouterr()
        assert said in captured.err
        assert captured.err.count("\n") == 1
        assert not captured.out


def test_a_search_is_followed_in_a_pipe_to_its_end(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.searcher.killed_search", str(tmp_path / "study"), "2", "3", "0.2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as searching:
        while not (tmp_path / "study" / "space.yaml").exists():
            time.sleep(0.05)
        watch = [sys.executable, "-m", "searcher", "watch", str(tmp_path / "study")]
        result = subprocess.run(watch, capture_output=True, text=True, timeout=60)
        searching.wait()
    lines = result.stdout.splitlines()
    assert result.returncode == 0, result.stderr
    assert lines[0].split(" ", 2)[2].startswith(f"{tmp_path}/study running: ")
    assert lines[-1].endswith(" all trials done: 3 of 3 trials")
    assert any(re.search(r"trial 3 complete, Top-1 \d+\.\d %; \d of 3 trials", line) for line in lines)
    assert "\x1b" not in result.stdout
