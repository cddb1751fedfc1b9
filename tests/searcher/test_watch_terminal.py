"""`searcher watch` in a real terminal (tmux), beside a real search whose trainings are sleeps."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.searcher.tmux import Tmux, terminal

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def searching(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A search of two workers in `tmp_path/study`, whose trials take two seconds."""
    command = [sys.executable, "-m", "tests.searcher.killed_search", str(tmp_path / "study"), "2", "24", "0.4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, process_group=0) as process:
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def watch(tmux: Tmux, folder: Path) -> None:
    """Start watching once there is something to see; what the terminal was like before stands in `before`."""
    tmux.send(f"cd {ROOT}; until [ -e {folder}/study/trials/*0/record.json ]; do sleep 0.1; done", "Enter")
    tmux.send(f"stty -g > {folder}/before; clear; {sys.executable} -m searcher watch {folder}/study", "Enter")
    tmux.wait_for("▶ running", "q quit")


def assert_restored(tmux: Tmux, folder: Path, code: int) -> None:
    """The shell is back, on the screen it had, in the terminal that it had."""
    tmux.wait_for(r"^\$$", absent="q quit")  # what is typed before that is read by nobody
    tmux.send(f"echo ended with $?; stty -g > {folder}/after; echo and $?", "Enter")
    screen = tmux.wait_for(f"ended with {code}$", "and 0$")
    assert "q quit" not in screen
    assert (folder / "after").read_text() == (folder / "before").read_text()


@pytest.mark.parametrize("colour", ["colour", "NO_COLOR"])
def test_a_search_is_watched(tmp_path: Path, searching: subprocess.Popen[str], colour: str) -> None:
    plain = {"NO_COLOR": "1"} if colour == "NO_COLOR" else {}
    with terminal(tmp_path, 80, 24, **plain) as tmux:
        watch(tmux, tmp_path)
        tmux.wait_for("worker 1", "worker 2", "QAT", "[3-9] complete")  # rows appear while trials end
        tmux.send("s")
        screen = tmux.wait_for("by accuracy, largest first")
        accuracies = [float(a) for a in re.findall(r"^ [★◆ ]{3} +\d+ +(\d+\.\d) ", screen, re.MULTILINE)]
        assert len(accuracies) > 2
        assert accuracies == sorted(accuracies, reverse=True)
        tmux.send("/")
        tmux.send("hidden>1", "Enter")
        tmux.wait_for("trials with hidden>1, by accuracy")
        tmux.send("Escape")
        tmux.wait_for("complete", absent="with hidden>1")
        tmux.send("Down", "Enter")
        tmux.wait_for("Precision of every layer", "Trial ")
        tmux.send("Escape")
        tmux.wait_for("by accuracy, largest first", "^>")
        tmux.resize(100, 30)
        tmux.wait_for("q quit", "^.{99,100}$")
        tmux.send("p")
        still = tmux.wait_for("PAUSED at").partition("PAUSED")[2]
        ended = len(list((tmp_path / "study" / "trials").iterdir()))
        while len(list((tmp_path / "study" / "trials").iterdir())) < ended + 2:
            assert tmux.wait_for("PAUSED at").partition("PAUSED")[2] == still
        tmux.send("p")
        tmux.wait_for("▶ running", absent="PAUSED")
        escapes = tmux.raw()
        assert ("\x1b[32m" in escapes) == (colour == "colour")
        tmux.send("q")
        assert_restored(tmux, tmp_path, 0)


def test_the_terminal_is_restored_however_it_ends(tmp_path: Path, searching: subprocess.Popen[str]) -> None:
    with terminal(tmp_path, 200, 60) as tmux:
        watch(tmux, tmp_path)
        tmux.send("C-z")
        tmux.wait_for("Stopped", absent="q quit")
        tmux.send("fg", "Enter")
        tmux.wait_for("q quit")
        tmux.send("C-c")
        tmux.wait_for("^searcher: interrupted.$")
        assert_restored(tmux, tmp_path, 130)

        watch(tmux, tmp_path)
        pid = tmux.child()
        os.kill(pid, signal.SIGTERM)
        assert_restored(tmux, tmp_path, 128 + signal.SIGTERM)

        watch(tmux, tmp_path)
        os.killpg(searching.pid, signal.SIGKILL)  # the search dies before our eyes
        tmux.wait_for("the search died without saying so", "‖ interrupted")
        shutil.rmtree(tmp_path / "study")
        tmux.wait_for("must be the folder of a study")
        assert_restored(tmux, tmp_path, 2)
