"""Run by `test_processes.py` as one of several: training steps in float64, all that can be random on."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from bhvit import PrecisionPlan, global_batch
from bhvit.family_model import FamilyModel
from searcher.datasets.batches import TrainingBatches
from searcher.datasets.config import DataConfig
from searcher.datasets.images import ImageStore
from searcher.randomness import derive_seed, seed_everything
from searcher.ranks import ALONE, Ranks, join
from tests.searcher.architectures import build, thin_architecture
from tests.searcher.tiny_images import small_recipe

CPU, SEED, BATCH, SIZE = torch.device("cpu"), 3, 8, 96
ARCHITECTURE = thin_architecture((8, 16, 16, 32), (16, 16, 16, 32))
PLAN = (
    PrecisionPlan.uniform("binary")
    .with_layers(f"stage3.*.{ARCHITECTURE.block_parts(3)[0]}", "int4")
    .with_layers("downsample[12]", "int8")
    .with_layers(f"stage0.*.{ARCHITECTURE.block_parts(0)[-1]}", "fp16")
)


def network(plan: PrecisionPlan = PLAN) -> FamilyModel:
    seed_everything(SEED)
    model: FamilyModel = build(ARCHITECTURE, plan, drop_path_rate=0.5)
    return model.double()


def batches(root: Path, ranks: Ranks) -> TrainingBatches:
    listing = DataConfig("image_folder", str(root)).list_images()
    return TrainingBatches(
        ImageStore(listing.train.items, cache=True),
        listing.train.labels,
        3,
        SIZE,
        small_recipe().augmentation,
        batch_size=BATCH,
        smoothing=0.1,
        seed=(SEED, "qat"),
        workers=0,
        device=CPU,
        ranks=ranks,
    )


def steps(root: Path, ranks: Ranks) -> dict[str, Tensor]:
    """Gradients of every step of an epoch, and the model after it."""
    model, teacher = network(), network(PrecisionPlan.uniform("fp32")).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    averaging = ranks.averaging(model, CPU)
    seen: dict[str, Tensor] = {}
    for step, (images, targets) in enumerate(batches(root, ranks).epoch(0)):
        seed_everything(derive_seed(SEED, step))
        optimizer.zero_grad(set_to_none=True)
        with global_batch.divided(ranks.rank, ranks.count):
            loss(model, averaging, teacher, images.double(), targets.double()).backward()
        seen |= {
            f"gradient {step} {name}": p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
        }
        optimizer.step()
    return seen | model.state_dict()


def loss(model: FamilyModel, averaging: nn.Module, teacher: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    logits = averaging(images)
    distillation = F.cross_entropy(logits, teacher(images).softmax(-1))
    return 0.5 * F.cross_entropy(logits, targets) + 0.3 * distillation + 0.2 * model.weight_regularizer()


if __name__ == "__main__":
    torch.set_num_threads(1)
    root, output, rank, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    ranks = ALONE if count == 1 else join(rank, count, output / "meeting", CPU)
    save_file(steps(root, ranks), output / f"{rank}.safetensors")
