"""A terminal that is drawn on and asked for keys, and left as it was found, however that ends."""

from __future__ import annotations

import codecs
import os
import select
import signal
import sys
import termios
import tty
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from rich.console import Console
from rich.text import Text

from searcher.views.fallback import ERRORS

ENTER_SCREEN = "\x1b[?1049h\x1b[?25l\x1b[2J"  # the alternate one, without a cursor
LEAVE_SCREEN = "\x1b[0m\x1b[2J\x1b[?25h\x1b[?1049l"  # emptied, as tmux may show lines of it after a resize
ESCAPE_SECONDS = 0.05  # until an escape that nothing follows is the key of that name
NAMES = {"\x1b": "esc", "\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\x15": "ctrl-u"}
SEQUENCES = {
    "A": "up",
    "B": "down",
    "H": "home",
    "F": "end",
    "1~": "home",
    "7~": "home",
    "4~": "end",
    "8~": "end",
    "5~": "pageup",
    "6~": "pagedown",
}


class Terminal:
    """The terminal of this process, as a context: the alternate screen, and every key as it is pressed.

    SIGTERM ends the context by `SystemExit`, Ctrl-C by `KeyboardInterrupt`; Ctrl-Z gives the terminal back for as long
    as the process is stopped. Of a new frame only the lines that differ are written.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._in, self._out = sys.stdin.fileno(), sys.stdout.fileno()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._keys: deque[str] = deque()
        self._pending = ""
        self._drawn: list[str] = []
        self._size = (0, 0)

    def __enter__(self) -> Terminal:
        self._attributes = termios.tcgetattr(self._in)
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)
        self._wakeup_before = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        handlers = {signal.SIGWINCH: _ignored, signal.SIGTERM: _ended, signal.SIGTSTP: self._stopped}
        self._handlers = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        self._begin()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        for end in (self._wake_read, self._wake_write):
            os.close(end)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, now; raises `EOFError` where the terminal is gone, as `draw` and `key` do."""
        with _gone():
            columns, lines = os.get_terminal_size(self._out)
        return columns, lines

    def draw(self, lines: Sequence[Text]) -> None:
        """Make the screen show `lines`."""
        size = self.size
        if size != self._size:
            self._size, self._drawn = size, []
        new = [self._encoded(line) for line in lines]
        old: list[str | None] = [*self._drawn, *([None] * max(0, size[1] - len(self._drawn)))]
        new += [""] * (size[1] - len(new))
        changed = [f"\x1b[{i + 1}H{line}\x1b[K" for i, line in enumerate(new[: size[1]]) if line != old[i]]
        self._drawn = new
        if changed:
            self._write("".join(changed))

    def key(self, timeout: float) -> str | None:
        """The next key: a character, or `up`, `down`, `pageup`, `pagedown`, `home`, `end`, `enter`, `esc`, ...

        None after `timeout` seconds, and where the terminal has another size.
        """
        if not self._keys and self._readable(timeout):
            self._read()
            while self._pending and self._readable(ESCAPE_SECONDS):  # the rest of a sequence, over a slow line
                self._read()
            if self._pending:
                self._keys.append(NAMES["\x1b"])
                self._pending = ""
        return self._keys.popleft() if self._keys else None

    def _begin(self) -> None:
        tty.setcbreak(self._in)
        self._drawn = []
        self._write(ENTER_SCREEN)

    def _end(self) -> None:
        with suppress(EOFError, termios.error):  # there may be no terminal any more
            self._write(LEAVE_SCREEN)
            termios.tcsetattr(self._in, termios.TCSADRAIN, self._attributes)

    def _stopped(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: stop without the terminal; goes on here when the shell says so."""
        self._end()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._begin()

    def _readable(self, timeout: float) -> bool:
        """Whether keys came before a signal or the end of the time."""
        found, _, _ = select.select([self._in, self._wake_read], [], [], timeout)
        if self._wake_read in found:
            os.read(self._wake_read, 1024)
        return self._in in found

    def _read(self) -> None:
        with _gone():
            data = os.read(self._in, 1024)
        if not data:
            raise EOFError
        keys, self._pending = keys_in(self._pending + self._decoder.decode(data))
        self._keys.extend(keys)

    def _encoded(self, line: Text) -> str:
        with self.console.capture() as captured:
            self.console.print(line, end="", soft_wrap=True)
        return captured.get()

    def _write(self, text: str) -> None:
        data = text.encode(sys.stdout.encoding or "utf-8", ERRORS)
        with _gone():
            while data:
                data = data[os.write(self._out, data) :]


def keys_in(text: str) -> tuple[list[str], str]:
    """The keys in what a terminal sent, and the beginning of a sequence whose rest has not come yet."""
    keys: list[str] = []
    at = 0
    while at < len(text):
        if text[at] == "\x1b" and text[at + 1 : at + 2] in ("", "[", "O"):
            end = at + 2
            while end < len(text) and not ("@" <= text[end] <= "~"):
                end += 1
            if end >= len(text):
                return keys, text[at:]
            name = SEQUENCES.get(text[at + 2 : end + 1])
            keys += [name] if name else []
            at = end + 1
        else:
            key = NAMES.get(text[at], text[at])
            keys += [key] if key in NAMES.values() or key.isprintable() else []
            at += 1
    return keys, ""


@contextmanager
def _gone() -> Iterator[None]:
    """Raise `EOFError` where a terminal that was hung up cannot be read or written."""
    try:
        yield
    except OSError as error:
        raise EOFError from error


def _ignored(number: int, frame: Any) -> None:
    """The wake-up pipe says that the signal came."""


def _ended(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)
