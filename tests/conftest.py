"""Settings of all tests: set before torch is imported anywhere."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# The tests' tensors are small: a second thread costs more than it brings, above all on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder in memory where that exists: what takes time in many a test is not the search but its synced writes."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)
