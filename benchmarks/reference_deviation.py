"""Largest deviation of our BHViT from the recorded values of the released code, per variant, in float64.

    python benchmarks/reference_deviation.py

Relative to the largest recorded magnitude, or absolute where that is below 1. The last line is one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.bhvit.recorded import VARIANTS, deviations


def main() -> None:
    figures = {}
    for variant in VARIANTS:
        figures[variant] = deviations(variant)
        kinds = "  ".join(f"{kind} {value:.1e}" for kind, value in figures[variant].items())
        print(f"{variant:24s} {kinds}", flush=True)
    worst = max(value for kinds in figures.values() for value in kinds.values())
    print(json.dumps({"largest": worst, "deviations": figures}))


if __name__ == "__main__":
    main()
