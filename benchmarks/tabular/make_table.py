"""Train every configuration of the tabular benchmark's space and write down its costs and learning curve.

    python benchmarks/tabular/make_table.py [--seeds 0 1] [--out FILE]

One line a training, those within the budget first; a stopped run goes on with what is missing. About 13 seconds a
candidate on one core of an AMD EPYC, an hour a seed.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from table import SPACE, TABLE, Row, header, load_table, write_row

from searcher.datasets.image_folder import TRASHNET_MINI
from searcher.pipeline import train_candidate
from searcher.records import EpochRecord
from searcher.space import Space, load_space

RUNS = Path("runs") / "tabular"
ORDER_SEED = 2026


class Silent:
    """A report that lets every training go on to its end."""

    def __call__(self, record: EpochRecord) -> bool:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    space = load_space(SPACE)
    gather_images(Path(space.training[1].root))
    if not options.out.exists():
        append(options.out, header(space))
    done = {(row.seed, row.digits) for row in load_table(options.out).rows}
    missing = [(s, i) for s, i in in_order(space, options.seeds) if (s, space.digits_of(space.decode(i))) not in done]
    start = time.perf_counter()
    for count, (seed, index) in enumerate(missing):
        row = trained(space, seed, index)
        append(options.out, write_row(space, row))
        left = (time.perf_counter() - start) / (count + 1) * (len(missing) - count - 1)
        print(f"{count + 1} of {len(missing)}  seed {seed}  {row.accuracy:.3f}  {left / 60:.0f} min left", flush=True)


def in_order(space: Space, seeds: Sequence[int]) -> list[tuple[int, int]]:
    """Every seed and configuration: those within the budget before the others, each part in an order drawn once."""
    order = [int(index) for index in np.random.default_rng(ORDER_SEED).permutation(space.size)]

    def over(index: int) -> bool:
        return bool(space.budget.violations(space.candidate(space.decode(index)).cost(space.budget.accounting).total))

    fit = [index for index in order if not over(index)]
    others = [index for index in order if index not in fit]
    return [(seed, index) for part in (fit, others) for seed in seeds for index in part]


def trained(space: Space, seed: int, index: int) -> Row:
    """Train configuration `index`; its checkpoints are removed, those of its parent stay for others."""
    recipe, data = space.training
    choices = space.decode(index)
    candidate = space.candidate(choices)
    folder = RUNS / f"seed{seed}" / candidate.id
    metrics = train_candidate(
        candidate,
        recipe,
        data,
        directory=folder,
        warm_starts=RUNS / "_warm_starts",
        seed=seed,
        device="cpu",
        threads=1,
        report=Silent(),
    )
    shutil.rmtree(folder)
    qat = [record for record in metrics.epochs if record.phase == "qat"]
    cost = candidate.cost(space.budget.accounting).total
    return Row(
        seed,
        space.digits_of(choices),
        cost.memory_bytes,
        cost.ops,
        metrics.parent_accuracy,
        tuple(record.accuracy for record in qat),
        sum(record.seconds for record in qat),
    )


def append(path: Path, cells: list[str]) -> None:
    """Add a line; one that a kill has torn is ended first, and is skipped by the reader."""
    torn = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8", newline="") as file:
        if torn:
            file.write("\n")
        csv.writer(file, lineterminator="\n").writerow(cells)


def gather_images(root: Path) -> None:
    """The demo's photographs with the test images among the validation images, which makes those 396."""
    if root.exists():
        return
    unfinished = root.with_name(root.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for split in ("train", "val"):
        shutil.copytree(TRASHNET_MINI / split, unfinished / split)
    for image in sorted((TRASHNET_MINI / "test").glob("*/*")):
        shutil.copy(image, unfinished / "val" / image.parent.name / f"test_{image.name}")
    unfinished.rename(root)


if __name__ == "__main__":
    main()
