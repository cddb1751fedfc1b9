"""Whether a packed model answers as the trained one does: arg max, accuracy and logits on a test split.

Reference is PyTorch in float64, for the same normalised images. Rounding flips about one sign in millions, and a
flipped sign moves logits by some tenths in some images; so every float32 runtime, PyTorch's own included, differs from
float64 in a few images. A packed runtime is right if it is not worse than PyTorch's float32 in this.
Ends with one JSON line.

  python benchmarks/runtime_agreement.py runs/demo/trials/0004-* --data trashnet_mini
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bhvit.checkpoint import load_weights, round_to_stored_precision
from bhvit.export.packed import pack
from bhvit.model import BHViT
from bhvit.runtime import load, native
from searcher.candidate_training import build_candidate, evaluation_images
from searcher.commands.testing import WEIGHTS
from searcher.datasets.config import DataConfig
from searcher.study_folder import StudyFolder

MOVED = 1e-3  # logits farther apart than rounding alone makes them: a sign was flipped
Logits = Callable[[Tensor], Tensor]


def trained(trial: Path) -> tuple[BHViT, DataConfig]:
    """The model of a trial's folder, as it is deployed, and what it was trained on."""
    study = StudyFolder(trial.resolve().parents[1])
    (record,) = [r for r in study.records() if r.name == trial.resolve().name]
    recipe, data = study.space().training
    model = build_candidate(record.candidate, recipe)
    load_weights(model, trial / WEIGHTS)
    round_to_stored_precision(model)
    return model.eval(), data


def runtimes(model: BHViT, folder: Path, others: list[str]) -> Iterator[tuple[str, Logits]]:
    """float64 first, then all that is compared with it."""
    double = copy.deepcopy(model).double()
    yield "torch float64", lambda images: double(images.double())
    yield "torch float32", model
    pack(model, folder / "model.bhvit")
    for name in others:
        packed = load(folder / "model.bhvit", instruction_set=name)
        yield f"packed {name}", lambda images, packed=packed: torch.from_numpy(packed(images.numpy()))


def compared(found: Tensor, reference: Tensor, labels: Tensor) -> dict[str, Any]:
    """Counts of images, and how far logits are apart (median and largest over images of the largest of a class)."""
    apart = (found.double() - reference).abs().amax(1)
    return {
        "right": int((found.argmax(1) == labels).sum()),
        "as_float64": int((found.argmax(1) == reference.argmax(1)).sum()),
        "moved": int((apart > MOVED).sum()),
        "median_difference": float(apart.median()),
        "largest_difference": float(apart.max()),
    }


def measured(trial: Path, data: DataConfig | None, others: list[str], limit: int | None) -> dict[str, Any]:
    model, own_data = trained(trial)
    present = dataclasses.replace(data or own_data, download=False)  # a benchmark of others' data fetches nothing
    split = evaluation_images(present.list_images().test, model.architecture.image_size, cache=False)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        runs = list(runtimes(model, Path(folder), others))
        batches: list[list[Tensor]] = []
        labels: list[Tensor] = []
        for images, truth in split.batches(torch.device("cpu")):
            batches.append([run(images) for _, run in runs])
            labels.append(truth)
            if limit and sum(map(len, labels)) >= limit:
                break
    logits = [torch.cat(parts) for parts in zip(*batches, strict=True)]
    truth = torch.cat(labels)
    rows = {name: compared(found, logits[0], truth) for (name, _), found in zip(runs, logits, strict=True)}
    return {"trial": str(trial), "images": len(truth), "runtimes": rows}


def show(result: dict[str, Any]) -> None:
    images = result["images"]
    print(f"\n{result['trial']}: {images} test images")
    print(
        f"{'':16} {'Top-1 %':>8} {'arg max as float64':>22} {'moved > 1e-3':>17} "
        f"{'logits apart: median':>22} {'largest':>9}"
    )
    for name, row in result["runtimes"].items():
        same = f"{row['as_float64']} ({100 * row['as_float64'] / images:.2f} %)"
        apart = f"{row['median_difference']:>22.1e} {row['largest_difference']:>9.1e}"
        print(f"{name:16} {100 * row['right'] / images:>8.2f} {same:>22} {row['moved']:>17} {apart}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", type=Path, nargs="+", help="folders of trained trials")
    parser.add_argument("--data", help="data set, where it is not where it was trained, as name or name:root")
    parser.add_argument("--images", type=int, help="at least so many images of the test split (default: all)")
    path = native.library_path()
    compiled = native.instruction_sets(native.load_library(path)) if path else []
    parser.add_argument("--runtimes", nargs="+", default=[*compiled, "numpy"], help="default: %(default)s")
    options = parser.parse_args()
    name, _, root = (options.data or "").partition(":")
    data = DataConfig(name=name, root=root or "data") if name else None
    results = []
    for trial in options.trials:
        results.append(measured(trial, data, options.runtimes, options.images))
        show(results[-1])
    print(json.dumps({"benchmark": "runtime_agreement", "results": results}))


if __name__ == "__main__":
    main()
