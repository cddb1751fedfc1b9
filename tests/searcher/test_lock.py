"""The study's lock, against another real process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bhvit.errors import InvalidInput
from searcher.lock import UNKNOWN, Holder, hold, holder_of

HOLD = """
import sys, time
from pathlib import Path
from searcher.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_second_process_is_refused_with_host_process_and_age(other: subprocess.Popen[str], tmp_path: Path) -> None:
    expected = rf"is in use by process {other.pid} on {socket.gethostname()}, started \d+ s ago; wait until it ends"
    with pytest.raises(InvalidInput, match=expected), hold(tmp_path / "lock"):
        pass
    holder = holder_of(tmp_path / "lock")
    assert holder is not None
    assert holder.pid == other.pid


def test_lock_of_a_killed_process_is_free(other: subprocess.Popen[str], tmp_path: Path) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert holder_of(tmp_path / "lock") is None
    with hold(tmp_path / "lock"):
        assert holder_of(tmp_path / "lock").pid == os.getpid()  # type: ignore[union-attr]


def test_lock_is_exclusive_within_a_process_and_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path), pytest.raises(InvalidInput, match="is in use"), hold(path):
        pass
    assert holder_of(path) is None
    with hold(path):
        pass


def test_orphaned_fork_of_a_killed_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    forking = HOLD.replace('print("held"', "child = os.fork() or time.sleep(60)\n    print(child").replace(
        "import", "import os,", 1
    )
    command = [sys.executable, "-c", forking, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        orphan = int(process.stdout.readline())
        process.kill()
        process.wait()
        try:
            assert holder_of(tmp_path / "lock") is None
        finally:
            os.kill(orphan, signal.SIGKILL)


def test_refused_second_hold_leaves_the_lock_with_the_first(tmp_path: Path) -> None:
    """POSIX drops a lock when its process closes any descriptor of the file."""
    path = tmp_path / "lock"
    with hold(path):
        with pytest.raises(InvalidInput, match="is in use by process"), hold(path):
            pass
        assert holder_of(path) is not None
        script = f"from pathlib import Path; from searcher.lock import hold\nwith hold(Path({str(path)!r})): pass"
        other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert "is in use by process" in other.stderr


@pytest.mark.parametrize("content", ["", "{", '{"host": "h", "pid": 1}', "[]"])
def test_lock_of_another_version_is_held_by_somebody_unknown(
    other: subprocess.Popen[str], tmp_path: Path, content: str
) -> None:
    (tmp_path / "lock").write_text(content)
    assert holder_of(tmp_path / "lock") == UNKNOWN
    with pytest.raises(InvalidInput, match="is in use by another process"), hold(tmp_path / "lock"):
        pass


def test_lock_with_more_than_we_know_is_read(other: subprocess.Popen[str], tmp_path: Path) -> None:
    (tmp_path / "lock").write_text('{"host": "node", "pid": 7, "started": 1.0, "purpose": "search"}')
    assert holder_of(tmp_path / "lock") == Holder("node", 7, 1.0)
