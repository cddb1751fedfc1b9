"""Record the screens of the README from the committed demo study: `make screens` runs this.

Each command runs in a terminal (a pty) of 100 columns, two minutes after the study's last event by its clock; what it
draws becomes docs/screens/<name>.svg, the same to the last byte as long as the command draws the same.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

from searcher.events import last_time
from searcher.study_folder import StudyFolder

ROOT = Path(__file__).parents[2]
STUDY = "docs/studies/demo_fp_budget"
WIDTH, HEIGHT = 100, 34
SCREENS = {
    "show": ["show", STUDY, "--top", "8"],
    "trial": ["trial", STUDY, "10"],
    "watch": ["watch", STUDY, "--once"],
}
CODE = """
import sys, time
time.time = lambda: {now}
sys.argv[0] = {script!r}
from searcher.cli import main
sys.exit(main(sys.argv[1:]))
"""


def main() -> None:
    """Write every screen."""
    for name in SCREENS:
        path = Path(__file__).parent / f"{name}.svg"
        path.write_text(recorded(name), encoding="utf-8")
        print(path.relative_to(ROOT))


def recorded(name: str) -> str:
    """The picture of what a command of `SCREENS` draws."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(drawn(SCREENS[name])))
    return console.export_svg(title=f"searcher {' '.join(SCREENS[name])}", unique_id=name)


def drawn(argv: list[str]) -> str:
    """What `searcher ARGV` prints on a terminal, with its escape codes."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(WIDTH), "LINES": str(HEIGHT), "TZ": "UTC"}
    for name in ("NO_COLOR", "COLORTERM", "FORCE_COLOR"):
        environment.pop(name, None)
    script = Path(sys.executable).parent / "searcher"  # on the path: commands call themselves by this name
    environment["PATH"] = f"{script.parent}{os.pathsep}{environment['PATH']}"
    now = (last_time(StudyFolder(ROOT / STUDY).events) or 0.0) + 120
    command = [sys.executable, "-c", CODE.format(now=now, script=str(script)), *argv]
    with subprocess.Popen(command, stdout=follower, stdin=follower, cwd=ROOT, env=environment) as process:
        os.close(follower)
        output = b"".join(iter(lambda: _read(leader), b""))
    os.close(leader)
    if process.returncode:
        raise SystemExit(f"searcher {' '.join(argv)} ended with {process.returncode}")
    return output.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that the other side has closed
        return b""


if __name__ == "__main__":
    main()
