"""A search on Ray, run as a script with folder, address (or `local`) and number of workers: a victim of the tests."""

from __future__ import annotations

import sys
from pathlib import Path

from searcher.executors.ray_cluster import RayExecutor
from tests.searcher.fake_training import search
from tests.searcher.ray_trainings import scripted

TRIALS = 8

if __name__ == "__main__":
    folder, address, workers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    executor = RayExecutor(scripted, address=None if address == "local" else address, slots=workers)
    print("ready", flush=True)
    search(folder, None, TRIALS, executor, workers)
