"""A search on Ray to be killed; its arguments: folder, address or `local`, workers, seconds of an epoch."""

from __future__ import annotations

import sys
from pathlib import Path

from searcher.executors.ray_cluster import RayExecutor
from tests.searcher.fake_training import search
from tests.searcher.ray_trainings import Scripted

TRIALS = 8

if __name__ == "__main__":
    folder, address, workers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    train = Scripted(float(sys.argv[4]))
    executor = RayExecutor(train, address=None if address == "local" else address, slots=workers)
    print("ready", flush=True)
    search(folder, None, TRIALS, executor, workers)
