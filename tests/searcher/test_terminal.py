"""Keys and drawing, against an emulated terminal."""

from __future__ import annotations

import io
import os
import pty
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from unittest import mock

import pyte
import pytest
from rich.console import Console
from rich.text import Text

from searcher.views.grid import Column, grid
from searcher.views.terminal import Terminal, keys_in


@pytest.mark.parametrize(
    ("sent", "keys", "left"),
    [
        ("qj", ["q", "j"], ""),
        ("\x1b[A\x1b[B\x1bOA", ["up", "down", "up"], ""),
        ("\x1b[5~\x1b[6~\x1b[H\x1b[4~", ["pageup", "pagedown", "home", "end"], ""),
        ("\r\n\x7f\x15", ["enter", "enter", "backspace", "ctrl-u"], ""),
        ("\x1b[1;5Cx", ["x"], ""),  # a key that has no name
        ("a\x1b", ["a"], "\x1b"),
        ("\x1b[", [], "\x1b["),
        ("\x1bj", ["esc", "j"], ""),
        ("\x01\x00é", ["é"], ""),
    ],
)
def test_what_a_terminal_sends_is_read_as_keys(sent: str, keys: list[str], left: str) -> None:
    assert keys_in(sent) == (keys, left)


class Emulated:
    """A pseudo-terminal with this process at one end and an emulator at the other."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (6, 20))
        self.screen = pyte.Screen(20, 6)
        self.stream = pyte.ByteStream(self.screen)
        self.console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=20)

    @contextmanager
    def terminal(self) -> Iterator[Terminal]:
        """What is tested, with the pseudo-terminal as its standard input and output."""
        with (
            open(os.dup(self.slave)) as reading,
            open(os.dup(self.slave), "w", encoding="utf-8") as writing,
            mock.patch.object(sys, "stdin", reading),
            mock.patch.object(sys, "stdout", writing),
            Terminal(self.console) as terminal,
        ):
            yield terminal

    def seen(self) -> bytes:
        os.set_blocking(self.master, False)
        data = b""
        with suppress(BlockingIOError):
            while True:
                data += os.read(self.master, 2**16)
        self.stream.feed(data)
        return data

    @property
    def lines(self) -> list[str]:
        self.seen()
        return [line.rstrip() for line in self.screen.display]


@pytest.fixture
def emulated() -> Emulated:
    return Emulated()


def test_only_lines_that_differ_are_written(emulated: Emulated) -> None:
    with emulated.terminal() as terminal:
        terminal.draw([Text("one"), Text("two", style="red"), Text("three")])
        assert emulated.lines == ["one", "two", "three", "", "", ""]
        terminal.draw([Text("one"), Text("2"), Text("three")])
        data = emulated.seen()
        assert b"2" in data
        assert b"one" not in data
        assert b"three" not in data
        terminal.draw([Text("one")])
        assert emulated.lines == ["one", "", "", "", "", ""]
        terminal.draw([Text("one")])
        assert emulated.seen() == b""


def test_a_terminal_of_another_size_is_drawn_anew(emulated: Emulated) -> None:
    with emulated.terminal() as terminal:
        terminal.draw([Text("one")])
        emulated.seen()
        termios.tcsetwinsize(emulated.slave, (4, 10))
        assert terminal.size == (10, 4)
        terminal.draw([Text("one")])
        assert b"one" in emulated.seen()


def test_keys_come_one_by_one_and_an_escape_alone_is_a_key(emulated: Emulated) -> None:
    with emulated.terminal() as terminal:
        os.write(emulated.master, "j\x1b[Aé\x1b".encode())
        assert [terminal.key(1.0) for _ in range(4)] == ["j", "up", "é", "esc"]
        assert terminal.key(0.0) is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_the_terminal_is_left_as_it_was(emulated: Emulated, error: type[BaseException]) -> None:
    before = termios.tcgetattr(emulated.slave)

    def fail() -> None:
        with emulated.terminal():
            assert termios.tcgetattr(emulated.slave) != before
            raise error

    with pytest.raises(error):
        fail()
    assert termios.tcgetattr(emulated.slave) == before
    assert emulated.seen().endswith(b"\x1b[?25h\x1b[?1049l")


def test_a_terminal_that_was_hung_up_is_the_end_and_no_error(emulated: Emulated) -> None:
    with emulated.terminal() as terminal:
        os.close(emulated.slave)
        os.close(emulated.master)
        with pytest.raises(EOFError):
            terminal.key(1.0)
        with pytest.raises(EOFError):
            terminal.draw([Text("one")])


def test_columns_leave_out_by_rank_and_cut_what_may_be_cut() -> None:
    columns = (
        Column("name", cut=6),
        Column("n", right=True),
        Column("less", rank=1),
        Column("least", rank=2),
    )
    rows = [["a long name", "1", "x", "y"], ["b", "22", "x", "y"]]

    def drawn(width: int) -> list[str]:
        return [line.plain.rstrip() for line in grid(columns, rows, width)]

    assert drawn(40) == ["name          n  less  least", "a long name   1  x     y", "b            22  x     y"]
    assert drawn(25)[1] == "a long …   1  x     y"
    assert drawn(17)[1] == "a long…   1  x"
    assert drawn(10)[1] == "a lon…   1"
    assert drawn(9)[1] == "a lon…  1"  # a gap before a cut
    assert all(len(line) <= width for width in range(8, 40) for line in drawn(width))
