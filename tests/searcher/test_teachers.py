"""Teachers from files: both formats, other sizes and normalisations, and what is refused."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from bhvit.errors import InvalidInput
from searcher.datasets.config import DataConfig
from searcher.datasets.listing import Listing
from searcher.outcomes import MissingData
from searcher.recipe import TrainingRecipe
from searcher.teachers import teacher_from_file
from tests.searcher.tiny_images import image_folder, small_recipe

CPU = torch.device("cpu")
MODEL = "test_vit"  # timm's small transformer for tests


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Listing:
    return DataConfig("image_folder", str(image_folder(tmp_path_factory.mktemp("colours")))).list_images()


def recipe(path: Path, **changes: object) -> TrainingRecipe:
    return small_recipe(**({"teacher": str(path), "teacher_model": MODEL, "teacher_image_size": 160} | changes))


def weights(classes: int = 3, model: str = MODEL) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    state: dict[str, torch.Tensor] = timm.create_model(model, num_classes=classes).state_dict()
    return state


@pytest.mark.parametrize("form", ["safetensors", "bare", "state_dict", "model"])
def test_teacher_sees_the_images_at_its_own_size_and_normalisation(tmp_path: Path, listing: Listing, form: str) -> None:
    path = tmp_path / ("t.safetensors" if form == "safetensors" else "t.pth")
    if form == "safetensors":
        save_file(weights(), path)
    else:
        torch.save(weights() if form == "bare" else {form: weights(), "epoch": 3}, path)
    teacher = teacher_from_file(recipe(path), listing, 96, CPU)

    raw = torch.rand(2, 3, 96, 96)
    ours = (raw - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    plain = timm.create_model(MODEL, num_classes=3).eval()
    plain.load_state_dict(weights())
    mean, std = (torch.tensor(plain.pretrained_cfg[k]).view(3, 1, 1) for k in ("mean", "std"))
    theirs = F.interpolate((raw - mean) / std, 160, mode="bicubic", antialias=True)
    with torch.no_grad():
        assert torch.allclose(teacher(ours), plain(theirs), atol=1e-4)
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not teacher.training


def test_convolutional_teacher_takes_the_images_as_they_are(tmp_path: Path, listing: Listing) -> None:
    path = tmp_path / "t.safetensors"
    save_file(weights(model="test_resnet"), path)
    teacher = teacher_from_file(recipe(path, teacher_model="test_resnet", teacher_image_size=None), listing, 96, CPU)
    assert teacher(torch.rand(2, 3, 96, 96)).shape == (2, 3)


def test_teacher_of_another_number_of_classes_is_refused(tmp_path: Path, listing: Listing) -> None:
    save_file(weights(classes=1000), tmp_path / "t.safetensors")
    with pytest.raises(InvalidInput, match=r"must have the data set's 3 classes, but .* has 1000; fine-tune it"):
        teacher_from_file(recipe(tmp_path / "t.safetensors"), listing, 96, CPU)


def test_weights_of_another_model_are_refused(tmp_path: Path, listing: Listing) -> None:
    save_file(weights(model="test_resnet"), tmp_path / "t.safetensors")
    with pytest.raises(InvalidInput, match=r"must hold the weights of test_vit, but \d+ of \d+ parameters differ"):
        teacher_from_file(recipe(tmp_path / "t.safetensors"), listing, 96, CPU)


def test_absent_teacher_is_missing_data(tmp_path: Path, listing: Listing) -> None:
    with pytest.raises(MissingData, match="no such file; make them with `searcher teacher`, put them there, or"):
        teacher_from_file(recipe(tmp_path / "t.safetensors"), listing, 96, CPU)


def test_weights_that_do_not_say_their_model_need_its_name(tmp_path: Path, listing: Listing) -> None:
    save_file(weights(), tmp_path / "t.safetensors")
    with pytest.raises(
        InvalidInput, match=r"teacher_model must name the timm model .* a file made by `searcher teacher`"
    ):
        teacher_from_file(recipe(tmp_path / "t.safetensors", teacher_model=""), listing, 96, CPU)


def test_unknown_timm_model_is_refused_with_the_nearest_name(tmp_path: Path, listing: Listing) -> None:
    save_file(weights(), tmp_path / "t.safetensors")
    with pytest.raises(InvalidInput, match=r"unknown timm model 'tst_vit' \(did you mean 'test_vit\d?'\?\)"):
        teacher_from_file(recipe(tmp_path / "t.safetensors", teacher_model="tst_vit"), listing, 96, CPU)


@pytest.mark.parametrize("content", ["object", "text", "list"])
def test_file_that_is_no_state_dict_is_refused_and_nothing_in_it_is_run(
    tmp_path: Path, listing: Listing, content: str
) -> None:
    path = tmp_path / "t.pth"
    if content == "text":
        path.write_text("no weights")
    else:
        torch.save({"model": weights(), "args": argparse.Namespace()} if content == "object" else [1, 2], path)
    with pytest.raises(InvalidInput, match=r"t\.pth must (be|hold) a state dict") as caught:
        teacher_from_file(recipe(path), listing, 96, CPU)
    assert "\n" not in str(caught.value)
