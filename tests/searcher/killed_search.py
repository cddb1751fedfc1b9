"""A search in worker processes, run as a script: the victim of the tests that kill."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.searcher.fake_training import FakeTraining, search, worker_processes

if __name__ == "__main__":
    folder, workers, trials, seconds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    print("ready", flush=True)
    search(folder, None, trials, worker_processes(FakeTraining(seconds), workers), workers)
