"""Largest deviation from every recorded value of the released implementations, per variant, in float64.

    python benchmarks/reference_deviation.py

Deviations are relative to the largest recorded magnitude where that exceeds 1. The last line is one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the values and how to repeat them belong to the tests

from tests.bhvit.recorded import RECORDINGS, deviations

KINDS = ("logits", "stages", "train logits", "train loss", "gradient norms", "gradients", "three losses")


def main() -> None:
    print(f"{'variant':32s}" + "".join(f"{kind:>16s}" for kind in KINDS))
    largest = {}
    for recording, variant in ((r, v) for r in RECORDINGS for v in r.variants):
        name, found = f"{recording.folder} {variant}", deviations(recording, variant)
        largest[name] = max(found.values())
        cells = (f"{found[kind]:.1e}" if kind in found else "-" for kind in KINDS)
        print(f"{name:32s}" + "".join(f"{cell:>16s}" for cell in cells), flush=True)
    print(json.dumps({variant: float(f"{value:.2g}") for variant, value in largest.items()}))


if __name__ == "__main__":
    main()
