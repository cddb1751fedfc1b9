"""Recipes: the published one field by field, overriding, and what is refused."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from bhvit.errors import InvalidInput
from searcher.recipe import (
    Augmentation,
    DataConfig,
    LossWeights,
    Phase,
    TrainingRecipe,
    recipe_from,
    recipe_names,
)

PHASE = {"epochs": 2, "learning_rate": 0.001}
SMALL: dict[str, Any] = {"fp": PHASE, "qat": PHASE, "batch_size": 8}


def test_pets_is_the_published_recipe_in_every_field() -> None:
    phase = Phase(epochs=1000, learning_rate=5e-4, min_learning_rate=1e-8, warmup_epochs=5, warmup_learning_rate=1e-6)
    assert recipe_from("pets") == TrainingRecipe(
        fp=phase,
        qat=phase,
        batch_size=24,
        weight_decay=0.05,
        drop_path=0.1,
        schedule="epoch",
        augmentation=Augmentation(
            crop_scale=(0.08, 1.0),
            interpolation="bicubic",
            horizontal_flip=0.5,
            auto_augment="rand-m9-mstd0.5-inc1",
            color_jitter=0.4,
            random_erasing=0.25,
            random_erasing_mode="pixel",
            mixup=0.8,
            cutmix=1.0,
            mix_probability=1.0,
            mix_switch=0.5,
        ),
        loss=LossWeights(distillation=0.8, regularizer=0.1, regularizer_from=0.9, smoothing=0.1),
        teacher="parent",
        amp="auto",
    )


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipe_is_valid_and_reads_back_from_its_plain_data(name: str) -> None:
    recipe = recipe_from(name)
    assert recipe_from(recipe.to_json()) == recipe
    assert recipe_from(recipe.to_json()).digest == recipe.digest


def test_base_is_overridden_key_by_key() -> None:
    pets = recipe_from("pets")
    ours = recipe_from({"base": "pets", "batch_size": 16, "qat": {"epochs": 7}, "augmentation": {"mixup": 0.0}})
    assert ours == dataclasses.replace(
        pets,
        batch_size=16,
        qat=dataclasses.replace(pets.qat, epochs=7),
        augmentation=dataclasses.replace(pets.augmentation, mixup=0.0),
    )


def test_parent_depends_on_phase_one_alone() -> None:
    base = recipe_from(SMALL)

    def shares_parent(**changes: Any) -> bool:
        return recipe_from(SMALL | changes).parent_json() == base.parent_json()

    assert shares_parent(qat=PHASE | {"epochs": 9})
    assert shares_parent(loss={"regularizer": 0.0, "regularizer_from": 0.5, "regularize_downsampling": False})
    assert shares_parent(teacher="parent")
    assert not shares_parent(fp=PHASE | {"epochs": 9})
    assert not shares_parent(loss={"smoothing": 0.0})
    assert not shares_parent(batch_size=16)
    assert not shares_parent(augmentation={"mixup": 0.8})
    assert not shares_parent(teacher="t.safetensors", teacher_model="deit_tiny_patch16_224")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bach_size": 8}, r"unknown key in recipe: 'bach_size' \(did you mean 'batch_size'\?\)"),
        ({"batch_size": "8"}, r"recipe\.batch_size must be a whole number, but it is '8'"),
        ({"batch_size": 1}, r"recipe: batch_size must be at least 2, but it is 1"),
        ({"fp": PHASE | {"learning_rate": "5e-4"}}, r"recipe\.fp\.learning_rate .* YAML reads 5e-4 as a text"),
        ({"fp": PHASE | {"epochs": 0}}, r"recipe\.fp: epochs must be at least 1, but it is 0"),
        ({"fp": PHASE | {"warmup_epochs": 2}}, r"warmup_epochs must be fewer than epochs, but they are 2 of 2; use at"),
        ({"fp": PHASE | {"min_learning_rate": 0.1}}, r"min_learning_rate must lie between 0 and learning_rate"),
        ({"fp": {"epochs": 2, "learning_rate": 0.0}}, r"learning_rate \(which is above 0\)"),
        ({"fp": {"epochs": 2}}, r"recipe\.fp lacks learning_rate"),
        ({"drop_path": 1}, r"drop_path must be at least 0 and below 1"),
        ({"schedule": "stpe"}, r"unknown schedule 'stpe' \(did you mean 'step'\?\)"),
        ({"amp": "fp16"}, r"unknown amp 'fp16'"),
        ({"teacher": "deit.pth"}, r"teacher_model must name the timm model whose weights 'deit\.pth' holds, but it is"),
        ({"batch_size": 9, "augmentation": {"mixup": 0.8}}, r"batch_size must be even .* but it is 9; use 10"),
        ({"augmentation": {"crop_scale": [1.0, 0.5]}}, r"crop_scale must be the smallest and largest share"),
        ({"augmentation": {"random_erasing": 1.5}}, r"random_erasing must lie between 0 and 1"),
        ({"augmentation": {"interpolation": "cubic"}}, r"unknown interpolation 'cubic' \(did you mean 'bicubic'\?\)"),
        ({"loss": {"distillation": 0.95}}, r"distillation \+ regularizer must be at most 1, but they are 0\.95 and"),
        ({"base": "pet"}, r"unknown recipe 'pet' \(did you mean 'pets'\?\)"),
        ({"base": 3}, r"recipe\.base must be the name of a recipe, but it is 3"),
    ],
)
def test_impossible_recipe_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        recipe_from(SMALL | changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, 3, ["pets"]])
def test_recipe_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="recipe must be the name of a recipe or a mapping"):
        recipe_from(value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "trashnet"}, r"unknown data set 'trashnet' \(did you mean 'trashnet_mini'\?\)"),
        ({"name": "image_folder"}, r"root must name the folder of data set image_folder, but it is empty"),
        ({"name": "trashnet_mini", "workers": -1}, r"workers must be at least 0, but it is -1"),
    ],
)
def test_impossible_data_section_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        DataConfig(**values)


def test_reading_a_recipe_loads_neither_torch_nor_timm() -> None:
    code = (
        "import sys, searcher.recipe as r; r.recipe_from('demo'); r.DataConfig('trashnet_mini').list_images();"
        "print([m for m in ('torch', 'timm', 'optuna', 'rich') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
