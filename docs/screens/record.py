"""Record the screens of the README from the committed demo study: `make screens` runs this.

Each command runs in a real terminal (a pty) of 100 columns; what it draws becomes docs/screens/<name>.svg, the same to
the last byte as long as the command prints the same.
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

ROOT = Path(__file__).parents[2]
STUDY = "docs/studies/demo_fp_budget"
WIDTH = 100
SCREENS = {
    "show": ["show", STUDY, "--top", "8"],
    "trial": ["trial", STUDY, "10"],
    "watch": ["watch", STUDY, "--once"],
}


def main() -> None:
    """Write every screen."""
    for name, argv in SCREENS.items():
        path = Path(__file__).parent / f"{name}.svg"
        path.write_text(svg_of(name, argv), encoding="utf-8")
        print(path.relative_to(ROOT))


def svg_of(name: str, argv: list[str]) -> str:
    """The picture of what `searcher ARGV` draws."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(drawn(argv)))
    return console.export_svg(title=f"searcher {' '.join(argv)}", unique_id=name)


def drawn(argv: list[str]) -> str:
    """What the command prints on a terminal, with its escape codes."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
    command = [sys.executable, "-m", "searcher", *argv]
    with subprocess.Popen(command, stdout=follower, stdin=follower, cwd=ROOT, env=environment) as process:
        os.close(follower)
        output = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # how Linux says that the other side has closed
                break
            if not part:
                break
            output += part
    os.close(leader)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return output.decode().replace("\r\n", "\n")


if __name__ == "__main__":
    main()
