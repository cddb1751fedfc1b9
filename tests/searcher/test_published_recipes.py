"""What the published recipes build: the statement of the thesis against timm's objects, value by value.

Students (recipe `pets`): "1000 epochs per phase; batch 24; AdamW, lr 5e-4 (not scaled down for small batches), weight
decay 0.05, cosine to 1e-8, 5 warm-up epochs from 1e-6; DropPath 0.1; RandAugment rand-m9-mstd0.5-inc1, colour jitter
0.4, random erasing 0.25 (pixel), mixup 0.8, cutmix 1.0 (switch 0.5, batch mode), label smoothing 0.1, bicubic
RandomResizedCrop, horizontal flip; ImageNet mean and std; eval resize 256/224 S bicubic, centre crop."
Teachers (teacher recipe `pets`): "50 epochs, batch 256, lr 1e-4 to 1e-6, 3 warm-up epochs, weight decay 0.05, mixup
0.8, cutmix 1.0, smoothing 0.1". `test_recipe.py` compares the plain values of `pets`.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import timm
import torch
from timm.data.auto_augment import RandAugment
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from torch import nn
from torchvision.transforms import InterpolationMode

from bhvit import PrecisionPlan
from searcher.candidate_training import build_candidate
from searcher.datasets.batches import Normalizer, TrainingBatches
from searcher.datasets.config import DataConfig
from searcher.datasets.images import ImageStore
from searcher.datasets.transforms import evaluation_transform, training_transform
from searcher.recipe import Augmentation, Phase, TrainingRecipe, recipe_from
from searcher.teacher_recipe import teacher_recipe_from
from searcher.teachers import TimmTeacher
from searcher.training import adamw, cosine_schedule
from tests.searcher.architectures import candidate_of, first_preset
from tests.searcher.record_trajectory import network

PETS, TEACHER = recipe_from("pets"), teacher_recipe_from("pets")
CPU = torch.device("cpu")


def steps_of(transform: Any) -> dict[str, Any]:
    return {type(step).__name__: step for step in transform.transforms}


def batches(recipe: TrainingRecipe) -> TrainingBatches:
    """Of the recipe's batch size, on the demo's 691 photographs."""
    listing = DataConfig("trashnet_mini").list_images()
    return TrainingBatches(
        ImageStore(listing.train.items, cache=False),
        listing.train.labels,
        len(listing.classes),
        224,
        recipe.augmentation,
        batch_size=recipe.batch_size,
        smoothing=recipe.loss.smoothing,
        seed=(0, "fp"),
        workers=0,
        device=CPU,
    )


def test_students_images_are_cropped_flipped_and_changed_as_published() -> None:
    steps = steps_of(training_transform(224, PETS.augmentation))
    assert list(steps) == [
        "RandomResizedCropAndInterpolation",
        "RandomHorizontalFlip",
        "RandAugment",  # beside which timm leaves colour jitter out, in the published runs too
        "MaybePILToTensor",
    ]
    crop, policy = steps["RandomResizedCropAndInterpolation"], steps["RandAugment"]
    assert (crop.size, crop.scale, crop.interpolation) == ((224, 224), (0.08, 1.0), InterpolationMode.BICUBIC)
    assert crop.ratio == pytest.approx((3 / 4, 4 / 3))
    assert steps["RandomHorizontalFlip"].p == 0.5
    assert isinstance(policy, RandAugment)
    assert policy.num_layers == 2
    assert {(op.magnitude, op.magnitude_std, op.prob) for op in policy.ops} == {(9, 0.5, 0.5)}
    increasing = [op.name.removesuffix("Increasing") for op in policy.ops if op.name.endswith("Increasing")]
    assert increasing == ["Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness"]
    assert len(policy.ops) == 15


def test_teachers_images_are_cropped_and_flipped_only() -> None:
    steps = steps_of(training_transform(224, TEACHER.augmentation))
    assert list(steps) == ["RandomResizedCropAndInterpolation", "RandomHorizontalFlip", "MaybePILToTensor"]


@pytest.mark.parametrize("image_size", [96, 224])
def test_judged_images_are_resized_by_256_over_224_and_cropped(image_size: int) -> None:
    steps = steps_of(evaluation_transform(image_size))
    assert list(steps) == ["Resize", "CenterCrop", "MaybePILToTensor"]
    assert steps["Resize"].size == math.floor(image_size * 256 / 224)
    assert steps["Resize"].interpolation == InterpolationMode.BICUBIC
    assert steps["CenterCrop"].size == (image_size, image_size)


def test_images_are_normalised_with_imagenets_mean_and_deviation() -> None:
    white = Normalizer(CPU)(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)).flatten().tolist()
    assert white == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])


@pytest.mark.parametrize("recipe", [PETS, TEACHER.training], ids=["student", "teacher"])
def test_batches_are_mixed_as_published(recipe: TrainingRecipe) -> None:
    mix = batches(recipe)._mix
    assert isinstance(mix, Mixup)
    assert (mix.mixup_alpha, mix.cutmix_alpha, mix.mix_prob, mix.switch_prob) == (0.8, 1.0, 1.0, 0.5)
    assert (mix.label_smoothing, mix.mode, mix.num_classes) == (0.1, "batch", 6)


def test_students_pixels_are_erased_as_published_and_teachers_are_not() -> None:
    erase = batches(PETS)._erase
    assert isinstance(erase, RandomErasing)
    assert (erase.probability, erase.mode, erase.min_count, erase.max_count) == (0.25, "pixel", 1, 1)
    assert (erase.min_area, erase.max_area) == pytest.approx((0.02, 1 / 3))  # timm's, as in the published runs
    assert batches(TEACHER.training)._erase is None


def test_batch_sizes_are_published_ones() -> None:
    assert (PETS.batch_size, TEACHER.batch_size) == (24, 256)
    assert (len(batches(PETS)), len(batches(TEACHER.training))) == (691 // 24, 691 // 256)


def test_drop_path_rises_to_a_tenth_over_the_blocks() -> None:
    model = build_candidate(candidate_of(first_preset(), PrecisionPlan.uniform("binary")), PETS)
    count = sum(first_preset().depths)
    rates = [block.drop_path.rate for blocks in model.blocks for block in blocks]
    assert rates == pytest.approx([0.1 * i / (count - 1) for i in range(count)])


def decayed(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[float, set[str]]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(names)
    return {group["weight_decay"]: {names[p] for p in group["params"]} for group in optimizer.param_groups}


def test_students_convolutions_and_linear_layers_are_decayed_and_nothing_else() -> None:
    model = network()
    groups = decayed(adamw(model, PETS.qat, PETS), model)
    assert set(groups) == {0.0, 0.05}
    assert groups[0.05] == {
        "stem.conv.weight",
        *(f"downsamples.{i}.conv.weight" for i in range(3)),
        *(f"stages.{i}.0.mixer.convs.{d}.weight" for i in (0, 1) for d in range(3)),
        *(f"stages.{i}.0.mixer.{n}.project.linear.weight" for i in (2, 3) for n in ("query", "key", "value")),
        *(f"stages.{i}.0.mixer.output.linear.weight" for i in (2, 3)),
        *(f"stages.{i}.0.mlp.{n}.linear.weight" for i in range(4) for n in ("expand", "project")),
        "head.linear.weight",
    }


def test_teachers_tokens_and_positions_are_not_decayed() -> None:
    """DeiT's own rule: `pos_embed`, `cls_token`, norms and biases stay undecayed, also inside our wrapper."""
    plain = timm.create_model("deit_tiny_patch16_224", num_classes=37, depth=1)
    model = TimmTeacher(plain, None)
    groups = decayed(adamw(model, TEACHER.phase, TEACHER.training), model)
    block = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    weights = ("patch_embed.proj", *(f"blocks.0.{name}" for name in block), "head")
    assert groups[0.05] == {f"model.{name}.weight" for name in weights}
    assert {"model.pos_embed", "model.cls_token", "model.norm.weight"} <= groups[0.0]


@pytest.mark.parametrize("phase", [PETS.fp, PETS.qat], ids=["fp", "qat"])
def test_students_learning_rate_is_the_published_one(phase: Phase) -> None:
    model = nn.Linear(2, 2)
    optimizer = adamw(model, phase, PETS)
    schedule = cosine_schedule(optimizer, phase, PETS, 138)
    rates = {}
    for epoch in (0, 1, 2, 3, 4, 5, 500, 999):
        schedule.step(epoch)
        schedule.step_update(epoch * 138 + 70)
        (rates[epoch],) = {group["lr"] for group in optimizer.param_groups}
    warm_up = {epoch: 1e-6 + (5e-4 - 1e-6) * epoch / 5 for epoch in range(5)}
    cosine = {e: 1e-8 + (5e-4 - 1e-8) * (1 + math.cos(math.pi * e / 1000)) / 2 for e in (5, 500, 999)}
    assert rates == pytest.approx(warm_up | cosine, rel=1e-12)
    (betas,), (eps,) = ({group[name] for group in optimizer.param_groups} for name in ("betas", "eps"))
    assert (betas, eps) == ((0.9, 0.999), 1e-8)


def test_teachers_learning_rate_is_the_published_one() -> None:
    optimizer = adamw(nn.Linear(2, 2), TEACHER.phase, TEACHER.training)
    schedule = cosine_schedule(optimizer, TEACHER.phase, TEACHER.training, 12)
    rates = []
    for epoch in range(50):
        schedule.step(epoch)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[:3] == pytest.approx([1e-6, 1e-6 + 99e-6 / 3, 1e-6 + 99e-6 * 2 / 3], rel=1e-12)
    assert rates[3:] == pytest.approx([1e-6 + 99e-6 * (1 + math.cos(math.pi * e / 50)) / 2 for e in range(3, 50)])


def test_teacher_recipe_is_the_published_one_in_every_field() -> None:
    assert TEACHER.phase == Phase(50, 1e-4, min_learning_rate=1e-6, warmup_epochs=3, warmup_learning_rate=1e-6)
    assert TEACHER.augmentation == Augmentation(mixup=0.8, cutmix=1.0)
    assert (TEACHER.weight_decay, TEACHER.smoothing, TEACHER.schedule) == (0.05, 0.1, "epoch")
    loss = TEACHER.training.loss
    assert (loss.distillation, loss.regularizer, loss.smoothing) == (0, 0, 0.1)
