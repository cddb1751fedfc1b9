"""The pixels that a packed model is given are those on which the trained one was evaluated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bhvit.errors import InvalidInput
from bhvit.export.packed import header_of, pack
from bhvit.family_model import FamilyModel
from bhvit.pixels import evaluation_crop
from bhvit.precision import PrecisionPlan
from bhvit.runtime import load
from bhvit.runtime.__main__ import read_image
from searcher.datasets.batches import EvaluationImages
from searcher.datasets.images import ImageStore
from searcher.datasets.transforms import evaluation_transform
from tests.searcher.architectures import build, small_architecture

SIZES = [(96, 96), (500, 375), (375, 500), (109, 109), (110, 96), (97, 300), (31, 17), (4, 400), (251, 250)]


def network() -> FamilyModel:
    return build(small_architecture(image_size=64), PrecisionPlan.uniform("fp32"))


def photograph(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", [96, 160, 224])
def test_resizing_and_cropping_are_those_of_the_evaluation_transform(size: tuple[int, int], side: int) -> None:
    header, image = header_of(network()), photograph(*size)
    found = np.asarray(evaluation_crop(image, side, header.crop_pct, header.interpolation))
    np.testing.assert_array_equal(found, evaluation_transform(side)(image).permute(1, 2, 0).numpy())


@pytest.mark.parametrize("size", [(20000, 1), (3, 301)])
def test_a_line_is_refused_before_it_is_scaled_to_a_gigabyte(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "line.png"
    photograph(*size).save(path)
    pack(network(), tmp_path / "m.bhvit")
    model = load(tmp_path / "m.bhvit", instruction_set="numpy")
    message = (
        rf"line\.png: an image's longer side must be at most 100 times the shorter, but it is {size[0]} x {size[1]}"
    )
    with pytest.raises(InvalidInput, match=message):
        read_image(path, model)


def test_an_image_file_becomes_what_the_network_was_trained_on(tmp_path: Path) -> None:
    """Also with an orientation in its EXIF data and an alpha channel."""
    turned, transparent = tmp_path / "turned.jpg", tmp_path / "transparent.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph(200, 150).save(turned, exif=exif)
    photograph(200, 150).convert("RGBA").save(transparent)
    pack(network(), tmp_path / "m.bhvit")
    model = load(tmp_path / "m.bhvit", instruction_set="numpy")
    images = EvaluationImages(ImageStore([turned, transparent], cache=False), [0, 0], model.image_size, keep=False)
    ((expected, _),) = images.batches(torch.device("cpu"))
    stem = model.network.stem
    for path, floats in zip((turned, transparent), expected, strict=True):
        pixels = read_image(path, model)
        normalised = (pixels * stem.image_scale + stem.image_shift).transpose(2, 0, 1)
        np.testing.assert_allclose(normalised, floats.numpy(), rtol=1e-5, atol=1e-6)
