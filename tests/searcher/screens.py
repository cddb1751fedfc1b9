"""What a command prints on a terminal of a given width, or into a pipe, as text to be compared whole."""

from __future__ import annotations

import io
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from searcher.cli import main

GOLDEN = Path(__file__).parent / "golden"
NOW = 1_800_000_000.0  # when the studies of tests/searcher/studies.py are looked at
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")


class Terminal(io.StringIO):
    """A standard output that says it is a terminal, or not."""

    def __init__(self, tty: bool) -> None:
        super().__init__()
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


@contextmanager
def terminal(width: int, height: int = 40, *, tty: bool = True, now: float = NOW) -> Iterator[Terminal]:
    """Standard output and error go to a terminal of this size (or pipe) in which it is `now`."""
    out = Terminal(tty)
    size = {"COLUMNS": str(width), "LINES": str(height), "TERM": "xterm-256color"}
    with (
        mock.patch.dict(os.environ, size),
        mock.patch.object(sys, "stdout", out),
        mock.patch.object(sys, "stderr", out),
        mock.patch.object(time, "time", return_value=now),
    ):
        for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
            os.environ.pop(name, None)
        yield out


def screen(*argv: str, width: int = 100, tty: bool = True, colour: bool = False, now: float = NOW) -> str:
    """What `searcher ARGV` prints, without trailing spaces and, unless asked for, without colour."""
    with terminal(width, tty=tty, now=now) as out:
        main(argv)
    text = out.getvalue() if colour else ESCAPES.sub("", out.getvalue())
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def assert_golden(name: str, text: str) -> None:
    """`text` is what `golden/NAME.txt` holds; with UPDATE_GOLDEN set that file is written instead."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{path} differs; look, then run again with UPDATE_GOLDEN=1"
