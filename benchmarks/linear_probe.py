"""What a linear model reaches on raw pixels: the bar that a network trained on the demo data has to clear.

Multinomial logistic regression on the evaluation images (resized, cropped, normalised; no augmentation), fitted by
L-BFGS on the training split for several strengths of weight decay, of which the validation split chooses one. Ends
with one JSON line.
"""

from __future__ import annotations

import argparse
import json

import torch
import torch.nn.functional as F
from torch import Tensor

from searcher.datasets.batches import EvaluationImages
from searcher.datasets.config import DataConfig
from searcher.datasets.images import ImageStore
from searcher.datasets.listing import ImageList

DECAYS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
STEPS = 200


def pixels(images: ImageList, side: int) -> tuple[Tensor, Tensor]:
    """Flattened images (N, 3 * side * side) and labels (N)."""
    batches = EvaluationImages(ImageStore(images.items, cache=False), images.labels, side, keep=False).batches(
        torch.device("cpu")
    )
    x, y = zip(*batches, strict=True)
    return torch.cat(x).flatten(1), torch.cat(y)


def fitted(x: Tensor, y: Tensor, classes: int, decay: float) -> tuple[Tensor, Tensor]:
    """Weights (classes, features) and bias (classes) minimising cross-entropy + decay / 2 * |weights|^2."""
    weight = torch.zeros(classes, x.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(F.linear(x, weight, bias), y) + decay / 2 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weight.detach(), bias.detach()


def accuracy(x: Tensor, y: Tensor, model: tuple[Tensor, Tensor]) -> float:
    return float((F.linear(x, *model).argmax(1) == y).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="trashnet_mini", help="data set (default: %(default)s)")
    parser.add_argument("--root", default="", help="its folder, where it does not ship with the package")
    parser.add_argument("--sides", type=int, nargs="+", default=[16, 32, 96], help="image sides (default: %(default)s)")
    options = parser.parse_args()
    listing = DataConfig(options.data, options.root).list_images()
    results = []
    for side in options.sides:
        train, val, test = (pixels(listing.split(s), side) for s in ("train", "val", "test"))
        models = {decay: fitted(*train, len(listing.classes), decay) for decay in DECAYS}
        decay = max(models, key=lambda d: accuracy(*val, models[d]))
        row = {
            "side": side,
            "decay": decay,
            **{name: accuracy(*xy, models[decay]) for name, xy in (("train", train), ("val", val), ("test", test))},
        }
        results.append(row)
        print("side {side:3d}  decay {decay:g}  train {train:.1%}  val {val:.1%}  test {test:.1%}".format(**row))
    counts = torch.bincount(torch.tensor(listing.test.labels), minlength=len(listing.classes))
    chance = float(counts.max()) / len(listing.test)
    print(f"largest class of test: {chance:.1%}")
    print(json.dumps({"data": options.data, "largest_class": chance, "linear_probe": results}))


if __name__ == "__main__":
    main()
