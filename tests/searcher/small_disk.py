"""A search on a disk that is full, then read-only, then neither; run in a mount namespace of its own.

`unshare -Urm python -m tests.searcher.small_disk FOLDER REPORT` mounts a small tmpfs at FOLDER, unseen from outside,
and writes what the search says and its final table to REPORT.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bhvit.errors import InvalidInput
from searcher.executors.executor import Report, TrialJob
from searcher.executors.threads import ThreadExecutor
from searcher.records import Metrics, read_records
from tests.searcher.fake_training import fake_train, search

BALLAST = "ballast"


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def make_read_only(folder: Path) -> None:
    """By a second mount over the first: files that are open for writing forbid to change that one."""
    run("mount", "--bind", str(folder), str(folder))
    run("mount", "-o", "remount,bind,ro", str(folder))


def fill(folder: Path) -> None:
    """Leave no free page."""
    with (folder / BALLAST).open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def search_until(number: int, disaster: Callable[[], None], folder: Path) -> str:
    """Search with a disaster in the middle of trial `number`; what the search says about it."""

    def train(job: TrialJob, report: Report) -> Metrics:
        if job.number == number:
            disaster()
        return fake_train(job, report)

    try:
        search(folder / "study", executor=ThreadExecutor(train))
    except (OSError, InvalidInput) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


if __name__ == "__main__":
    place = Path(sys.argv[1])
    run("mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs", str(place))
    said = [search_until(3, lambda: fill(place), place)]
    said.append(search_until(99, lambda: None, place))  # nothing can be written yet
    (place / BALLAST).unlink()
    said.append(search_until(5, lambda: make_read_only(place / "study"), place))
    said.append(search_until(99, lambda: None, place))
    run("umount", str(place / "study"))
    search(place / "study")
    records = [(r.number, r.candidate.id, str(r.outcome), r.message) for r in read_records(place / "study")]
    Path(sys.argv[2]).write_text(json.dumps({"said": said, "records": records}))
