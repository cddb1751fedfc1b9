"""What `searcher watch` costs while a large study is searched: processor time, and seconds to the first screen.

Run `python benchmarks/watch_load.py [--trials 10000] [--seconds 30] [--study FOLDER]`. A study of many trials (or a
copy of FOLDER) is written on as a coordinator with eight busy workers would: a status and two epochs a second,
a trial every two seconds. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import json
import os
import pty
import shutil
import signal
import struct
import sys
import tempfile
import termios
import threading
import time
from dataclasses import replace
from pathlib import Path

from many_trials import SPACE, write_study

from searcher.events import EpochFinished, EventLog, SearchStarted, TrialFinished, TrialStarted
from searcher.files import write_json
from searcher.lock import hold
from searcher.records import EpochRecord, Outcome, TrialRecord, write_record
from searcher.space import load_space, parse_space
from searcher.status import STATUS_FILE, SearchStatus, WorkerStatus
from searcher.study_folder import StudyFolder

WORKERS = 8
SIZES = ((80, 24), (200, 60))
SETTLE_SECONDS = 3.0


def main() -> None:
    """Write a study, watch it while it is written on."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--trials", type=int, default=10000)
    arguments.add_argument("--seconds", type=float, default=30.0, help="for which each size of terminal is watched")
    arguments.add_argument("--study", type=Path, help="a study to copy, instead of writing one")
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = StudyFolder(Path(name) / "study")
        if args.study is None:
            write_study(parse_space({**load_space(SPACE).to_plain(), "enqueue": []}, SPACE.stem), folder, args.trials)
        else:
            shutil.copytree(args.study, folder.path)
        figures = watched(folder, args.seconds)
    for what, value in figures.items():
        print(f"{what:40} {value:8.2%}" if "share" in what else f"{what:40} {value:7.2f} s")
    print(json.dumps({"benchmark": "watch_load", "trials": args.trials, **figures}))


def watched(folder: StudyFolder, seconds: float) -> dict[str, float]:
    """Seconds to the first screen, and the share of a core that is used afterwards, for each size of terminal."""
    figures: dict[str, float] = {}
    over = threading.Event()
    with hold(folder.lock):
        log = EventLog(folder.events)
        log.append(SearchStarted(20000, len(folder.records()), 50000, 100000, False))
        writer = threading.Thread(target=write_on, args=(folder, log, over), daemon=True)
        writer.start()
        for width, height in SIZES:
            first, share, drawn = measured(folder, width, height, seconds)
            name = f"{width}x{height}"
            figures |= {f"{name} first_screen": first, f"{name} share_of_core": share}
            print(f"{name}: {drawn / seconds / 1024:.1f} KiB drawn a second")
        over.set()
        writer.join()
    return figures


def measured(folder: StudyFolder, width: int, height: int, seconds: float) -> tuple[float, float, int]:
    """Watch in a terminal of this size: seconds to the first screen, share of a core, bytes drawn."""
    begin = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        os.execv(sys.executable, [sys.executable, "-m", "searcher", "watch", str(folder.path)])
    seen = [0, 0.0]

    def read() -> None:
        while True:
            try:
                data = os.read(terminal, 2**16)
            except OSError:
                return
            if b"q quit" in data and not seen[1]:
                seen[1] = time.perf_counter() - begin
            seen[0] += len(data)

    threading.Thread(target=read, daemon=True).start()
    while not seen[1]:
        time.sleep(0.01)
    time.sleep(SETTLE_SECONDS)
    used, drawn = processor_seconds(pid), seen[0]
    time.sleep(seconds)
    share, drawn = (processor_seconds(pid) - used) / seconds, seen[0] - drawn
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
    return float(seen[1]), share, int(drawn)


def processor_seconds(pid: int) -> float:
    """Processor time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write_on(folder: StudyFolder, log: EventLog, over: threading.Event) -> None:
    """What a coordinator writes, until it is `over`."""
    pattern = folder.records()[0]
    number = tick = 10**6
    while not over.wait(0.5):
        tick += 1
        log.append(EpochFinished(tick % WORKERS, EpochRecord("qat", tick, 0, 1.0, 1.1, 0.5, 4.0), "worker 1"))
        if tick % 2:
            workers = [
                WorkerStatus(f"worker {i}", i, "qat", 3, 5, tick % 30, 30, time.time(), 0.5, 1.0, 400.0, 2.0**30)
                for i in range(WORKERS)
            ]
            write_json(
                folder.path / STATUS_FILE,
                dataclasses.asdict(SearchStatus(time.time(), 20000, 1, 100.0, "", tuple(workers))),
            )
        if tick % 4 == 0:
            number += 1
            _end_trial(folder, log, replace(pattern, number=number))


def _end_trial(folder: StudyFolder, log: EventLog, record: TrialRecord) -> None:
    candidate, cost = record.candidate.id, (record.memory_bytes, record.ops)
    write_record(folder.trial(record), replace(record, outcome=Outcome.RUNNING, metrics=None))
    log.append(TrialStarted(record.number, 1, candidate, record.choices, *cost, 1, 20000))
    write_record(folder.trial(record), record)
    log.append(TrialFinished(record.number, record.outcome, 0.5, "", 1, 20000))


if __name__ == "__main__":
    main()
