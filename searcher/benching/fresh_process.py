"""Starts `peak_memory` in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

from bhvit.errors import InvalidInput
from searcher.benching import peak_memory
from searcher.benching.contestants import Contestant


def peak_bytes(contestant: Contestant) -> int:
    """Largest resident set, in bytes, of a fresh process that loads the file and runs it on one image.

    Raises `InvalidInput` where that process fails.
    """
    words = [str(contestant.path), str(contestant.threads)]
    if contestant.instruction_set is not None:
        words.append(contestant.instruction_set)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(contestant.threads),
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),  # the same modules as here
    }
    done = subprocess.run(
        [sys.executable, "-P", peak_memory.__file__, *words], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise InvalidInput(f"{contestant.path} must run in a process of its own, but there: {reason}")
    return int(done.stdout.splitlines()[-1])
