"""Does the full-precision warm start pay? Binary training from it against from scratch, at equal total epochs.

    python benchmarks/warm_start.py [--seeds 3] [--runs DIR]

The base of `search_spaces/demo.yaml`, all layers binary, with the demo's photographs and recipe. Warm: phase 1
in full precision, then phase 2. Scratch: one binary phase of as many epochs as both, same rates, one cosine. About two
minutes a seed on one CPU core; an interrupted call goes on. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from datetime import date
from pathlib import Path

import torch

from searcher.candidate import Candidate
from searcher.candidate_training import CandidateTraining
from searcher.checkpoint_files import BEST
from searcher.pipeline import evaluate_candidate, train_candidate
from searcher.recipe import DataConfig, TrainingRecipe
from searcher.space import load_space
from searcher.statistics import mean_of
from searcher.training import Objective, PhaseRun, train_phase

SPACE = Path(__file__).parents[1] / "search_spaces" / "demo.yaml"
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    space = load_space(SPACE)
    candidate = space.candidate(space.enqueued[0])
    recipe, data = space.training
    rows = []
    print("seed   validation: warm  scratch   test: warm  scratch   (Top-1 in %)")
    for seed in range(options.seeds):
        folder = options.runs / "_warm_start_benchmark" / f"seed{seed}"
        train_candidate(
            candidate,
            recipe,
            data,
            directory=folder / "warm",
            warm_starts=options.runs / "_warm_starts",
            seed=seed,
            device="cpu",
            threads=1,
            report=lambda record: False,
        )
        from_scratch(candidate, recipe, data, seed, folder / "scratch")
        row = {
            f"{split}_{start}": 100 * accuracy(candidate, recipe, data, folder / start, split)
            for split in ("val", "test")
            for start in ("warm", "scratch")
        }
        rows.append(row)
        print(
            f"{seed:4d} {row['val_warm']:17.1f} {row['val_scratch']:8.1f} {row['test_warm']:12.1f} "
            f"{row['test_scratch']:8.1f}",
            flush=True,
        )
    result = {"date": date.today().isoformat(), "torch": torch.__version__, "seeds": options.seeds, "rows": rows}
    for split in ("val", "test"):
        gain = mean_of([row[f"{split}_warm"] - row[f"{split}_scratch"] for row in rows])
        assert gain is not None
        result[f"{split}_gain"] = dataclasses.asdict(gain) | {"half_width_95": gain.half_width}
        width = "" if gain.half_width is None else f" +- {gain.half_width:.1f} (95 %, paired)"
        print(f"{split}: gain of the warm start {gain.mean:+.1f} points{width}")
    print(json.dumps(result))


def from_scratch(candidate: Candidate, recipe: TrainingRecipe, data: DataConfig, seed: int, folder: Path) -> None:
    """One quantization-aware phase from random weights, as long as both phases of the recipe."""
    training = CandidateTraining(candidate, recipe, data, seed, CPU)
    model = training.model(candidate)
    phase = dataclasses.replace(recipe.qat, epochs=recipe.fp.epochs + recipe.qat.epochs)
    run = PhaseRun("qat", phase, recipe, seed, f"scratch {candidate.id} {recipe.digest} {seed}", folder, CPU)
    train_phase(model, run, training.images("qat"), Objective(None, training.regularizer(model)), lambda record: False)


def accuracy(candidate: Candidate, recipe: TrainingRecipe, data: DataConfig, folder: Path, split: str) -> float:
    """Top-1 (0..1) of the weights of the best validation epoch."""
    return evaluate_candidate(candidate, recipe, data, folder / BEST, split, "cpu").accuracy


if __name__ == "__main__":
    main()
