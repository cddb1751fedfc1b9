"""A real terminal: a tmux server of the tests' own, to which keys are sent and whose screen is read."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

HOW_TO_INSTALL = "tmux is not installed; apt-get install tmux"
PATIENCE = 20.0  # seconds until a screen shows what is waited for


@dataclass(frozen=True)
class Tmux:
    """A server at `socket` with one session."""

    socket: Path

    def send(self, *keys: str) -> None:
        """Press keys, by tmux's names for them (`Enter`, `Escape`, `C-c`), or text."""
        self._call("send-keys", *keys)

    def resize(self, width: int, height: int) -> None:
        self._call("resize-window", "-x", str(width), "-y", str(height))

    def screen(self) -> str:
        """What the terminal shows, without trailing spaces."""
        return "".join(f"{line.rstrip()}\n" for line in self._call("capture-pane", "-p").splitlines())

    def wait_for(self, *texts: str, absent: str | None = None) -> str:
        """The screen as soon as it shows all `texts`, and not `absent`; fails with the screen where it never does."""
        deadline = time.monotonic() + PATIENCE
        while True:
            screen = self.screen()
            if all(text in screen for text in texts) and (absent is None or absent not in screen):
                return screen
            assert time.monotonic() < deadline, f"waited for {texts}, without {absent!r}, but saw:\n{screen}"
            time.sleep(0.05)

    def _call(self, *arguments: str) -> str:
        command = ["tmux", "-S", str(self.socket), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextmanager
def terminal(folder: Path, width: int, height: int, **environment: str) -> Iterator[Tmux]:
    """A shell in a terminal of this size; skips the test where tmux is not installed, and fails it there in CI."""
    if shutil.which("tmux") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(HOW_TO_INSTALL)
    tmux = Tmux(folder / "tmux")
    size = ["-x", str(width), "-y", str(height)]
    values = {"PS1": "$ ", "TERM": "screen-256color", "LC_ALL": "C.UTF-8", **environment}
    command = ["tmux", "-S", str(tmux.socket), "-f", "/dev/null", "new-session", "-d", *size, "env", "-u", "ENV"]
    subprocess.run([*command, *(f"{k}={v}" for k, v in values.items()), "sh"], check=True)
    try:
        yield tmux
    finally:
        subprocess.run(["tmux", "-S", str(tmux.socket), "kill-server"], check=False, capture_output=True)
