"""From a PIL image to a uint8 tensor of the model's size: timm's transforms, set as a recipe says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image
from timm.data.auto_augment import AugmentOp, RandAugment, posterize
from timm.data.transforms_factory import create_transform
from torch import Tensor

from searcher.recipe import Augmentation

EVAL_CROP = 224 / 256  # the resized side is S / EVAL_CROP, of which the centre S x S is kept
Transform = Callable[[Image.Image], Tensor]


def training_transform(image_size: int, augmentation: Augmentation) -> Transform:
    """Random crop to (3, S, S), flip, colours and policy; draws from Python's, NumPy's and torch's global generators.

    Normalising and erasing are left to the batch, where they are cheaper.
    """
    transform = create_transform(
        image_size,
        is_training=True,
        use_prefetcher=True,
        scale=(augmentation.crop_scale[0], augmentation.crop_scale[1]),
        hflip=augmentation.horizontal_flip,
        color_jitter=augmentation.color_jitter or None,  # type: ignore[arg-type]  # timm's hint forgets None
        auto_augment=augmentation.auto_augment or None,
        interpolation=augmentation.interpolation,
    )
    for step in transform.transforms:
        if isinstance(step, RandAugment):
            _allow_black(step.ops)
    return transform


def evaluation_transform(image_size: int) -> Transform:
    """Bicubic resize of the shorter side to 256/224 S, centre crop to (3, S, S)."""
    return create_transform(
        image_size, is_training=False, use_prefetcher=True, interpolation="bicubic", crop_pct=EVAL_CROP
    )


def _allow_black(ops: list[AugmentOp]) -> None:
    """Let posterize keep 0 bits, that is: return black, as at the time of the published runs.

    RandAugment's strongest level asks for 0 bits (about one image in 660 at m9-mstd0.5); Pillow 13 refuses them.
    """
    for op in ops:
        if op.aug_fn is posterize:
            op.aug_fn = _posterize


def _posterize(image: Image.Image, bits: int, **options: Any) -> Image.Image:
    if bits == 0:
        return Image.new(image.mode, image.size)
    return posterize(image, bits, **options)
