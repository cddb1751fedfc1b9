"""Teachers for distillation: frozen models whose logits the student imitates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from bhvit.errors import InvalidInput, unknown_name
from searcher.checkpoints import read_tensors
from searcher.preflight import check_teacher
from searcher.recipe import TrainingRecipe


class TimmTeacher(nn.Module):
    """A timm model that sees the student's images at its own size and normalisation.

    Images (B, 3, S, S), normalised with ImageNet's mean and deviation, are resized to `image_size` (None: left as
    they are) and normalised as the model's timm configuration says. Returns logits (B, classes).
    """

    def __init__(self, model: nn.Module, image_size: int | None) -> None:
        super().__init__()
        self.model = model
        self.image_size = image_size
        config = _timm_config(model)
        mean, std = torch.tensor(config["mean"]), torch.tensor(config["std"])
        self.scale = nn.Buffer((torch.tensor(IMAGENET_DEFAULT_STD) / std).view(1, 3, 1, 1))
        self.offset = nn.Buffer(((torch.tensor(IMAGENET_DEFAULT_MEAN) - mean) / std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        if self.image_size not in (None, images.shape[-1]):
            images = F.interpolate(images, self.image_size, mode="bicubic", antialias=True)
        logits: Tensor = self.model(images * self.scale + self.offset)
        return logits


def frozen(model: nn.Module, device: torch.device) -> nn.Module:
    """`model` in evaluation mode on `device`, its parameters without gradients."""
    return model.to(device).eval().requires_grad_(False)


def teacher_from_file(recipe: TrainingRecipe, classes: int, image_size: int, device: torch.device) -> nn.Module:
    """The recipe's timm teacher with the weights of its file, safetensors or a state dict saved by torch.

    A torch file is read with `weights_only`, which builds tensors and nothing else. Raises `MissingData` for an
    absent file and `InvalidInput` for an unknown timm model, for weights of another number of classes or of another
    model, and for a file that is neither format.
    """
    check_teacher(recipe)
    path = recipe.teacher_file
    assert path is not None
    if not timm.is_model(recipe.teacher_model):
        raise unknown_name("teacher_model", recipe.teacher_model, timm.list_models())
    size = recipe.teacher_image_size or image_size
    try:
        model = timm.create_model(recipe.teacher_model, num_classes=classes, img_size=size)
    except TypeError:  # convolutional models take any size and no img_size
        model = timm.create_model(recipe.teacher_model, num_classes=classes)
    weights = _weights(path)
    _require_same_parameters(path, recipe.teacher_model, model, weights, classes)
    model.load_state_dict(weights)
    return frozen(TimmTeacher(model, recipe.teacher_image_size), device)


def _timm_config(model: nn.Module) -> dict[str, Any]:
    config: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    return config


def _weights(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_tensors(path)[0]
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the restricted unpickler fails in many ways; all mean the same here
        reason = " ".join(str(error).split())[:160]
        raise InvalidInput(
            f"{path} must be a state dict of tensors alone, but {reason}; convert it to safetensors."
        ) from error
    for name in ("state_dict", "model"):
        if isinstance(data, Mapping) and isinstance(data.get(name), Mapping):
            data = data[name]
    if not isinstance(data, Mapping) or not all(isinstance(t, Tensor) for t in data.values()):
        raise InvalidInput(f"{path} must hold a state dict (names to tensors), but it holds something else.")
    return {str(name): tensor for name, tensor in data.items()}


def _require_same_parameters(
    path: Path, name: str, model: nn.Module, weights: Mapping[str, Tensor], classes: int
) -> None:
    expected = {key: tuple(t.shape) for key, t in model.state_dict().items()}
    found = {key: tuple(t.shape) for key, t in weights.items()}
    classifiers = _timm_config(model)["classifier"]
    for classifier in (classifiers,) if isinstance(classifiers, str) else classifiers:
        shape = found.get(f"{classifier}.bias", (classes,))
        if shape != (classes,):
            raise InvalidInput(
                f"a teacher must have the data set's {classes} classes, but {path} has {shape[0]}; fine-tune it on "
                "the data set first."
            )
    wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    if wrong:
        listed = ", ".join(f"{k} {found.get(k, 'absent')} for {expected.get(k, 'none')}" for k in wrong[:3])
        raise InvalidInput(
            f"{path} must hold the weights of {name}, but {len(wrong)} of {len(expected)} parameters differ "
            f"({listed}); correct teacher_model or teacher_image_size."
        )
