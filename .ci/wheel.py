"""Is the installed wheel whole? A small model runs compiled and with numpy, which must agree; needs numpy alone."""

import sys
import tempfile
from pathlib import Path

import numpy as np

from bhvit import TINY, PrecisionPlan
from bhvit.runtime import load, packed_file
from bhvit.runtime.header import Header
from bhvit.runtime.schema import random_arrays


def main() -> int:
    """Print which instruction sets ran; 1 where one of them gave other logits than numpy."""
    header = Header.of_plan(TINY, PrecisionPlan.uniform("binary"))
    image = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.bhvit"
        packed_file.write(path, header, random_arrays(header, seed=0))
        compiled, plain = load(path), load(path, instruction_set="numpy")
        difference = float(np.abs(compiled(image) - plain(image)).max())
    print(f"{compiled.instruction_set} and numpy differ by {difference:.2g}")
    return 0 if compiled.instruction_set != "numpy" and difference < 1 else 1


if __name__ == "__main__":
    sys.exit(main())
