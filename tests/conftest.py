"""Settings of all tests: set before torch is imported anywhere."""

import os

# The tests' tensors are small: a second thread costs more than it brings, above all on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
