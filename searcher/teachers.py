"""Teachers for distillation: frozen models whose logits the student imitates."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from bhvit.errors import InvalidInput, nearest
from searcher.checkpoints import read_tensors
from searcher.datasets.listing import Listing
from searcher.recipe import SAFETENSORS, TrainingRecipe
from searcher.teacher_file import teacher_source


class TimmTeacher(nn.Module):
    """A timm model that sees the student's images at its own size and normalisation.

    Images (B, 3, S, S), normalised with ImageNet's mean and deviation, are resized to `image_size` (None: left as
    they are) and normalised as the model's timm configuration says. Returns logits (B, classes).
    """

    def __init__(self, model: nn.Module, image_size: int | None) -> None:
        super().__init__()
        self.model = model
        self.image_size = image_size
        config = timm_config(model)
        mean, std = torch.tensor(config["mean"]), torch.tensor(config["std"])
        self.scale = nn.Buffer((torch.tensor(IMAGENET_DEFAULT_STD) / std).view(1, 3, 1, 1))
        self.offset = nn.Buffer(((torch.tensor(IMAGENET_DEFAULT_MEAN) - mean) / std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        if self.image_size not in (None, images.shape[-1]):
            images = F.interpolate(images, self.image_size, mode="bicubic", antialias=True)
        logits: Tensor = self.model(images * self.scale + self.offset)
        return logits

    def no_weight_decay(self) -> set[str]:
        """Parameters that weight decay would harm, as the model says (timm's name)."""
        names = self.model.no_weight_decay() if hasattr(self.model, "no_weight_decay") else ()  # type: ignore[operator]
        return {f"model.{name}" for name in names}


def frozen(model: nn.Module, device: torch.device) -> nn.Module:
    """`model` in evaluation mode on `device`, its parameters without gradients."""
    return model.to(device).eval().requires_grad_(False)


def teacher_from_file(recipe: TrainingRecipe, listing: Listing, image_size: int, device: torch.device) -> nn.Module:
    """The recipe's timm teacher with the weights of its file, safetensors or a state dict saved by torch.

    Model and image size come from the file where `searcher teacher` made it, else from the recipe (`teacher_source`).
    A torch file is read with `weights_only`, which builds tensors and nothing else. Raises `MissingData` for an
    absent file and `InvalidInput` for an unknown timm model, for weights of other classes or of another model, for a
    teacher that has seen the images that judge its students, and for a file that is neither format.
    """
    name, side = teacher_source(recipe, listing)
    path, classes = recipe.teacher_file, len(listing.classes)
    assert path is not None
    model = timm_model(name, classes, side or image_size)
    weights = read_weights(path)
    _require_same_parameters(path, name, model, weights, classes)
    model.load_state_dict(weights)
    return frozen(TimmTeacher(model, side), device)


def timm_model(name: str, classes: int, image_size: int, **options: Any) -> nn.Module:
    """A timm model for images of `image_size` pixels, with random weights unless `options` of timm say otherwise.

    Raises `InvalidInput` for a name that timm does not know and for a size that the model cannot take.
    """
    require_timm_model(name)
    try:
        return timm.create_model(name, num_classes=classes, img_size=image_size, **options)
    except TypeError:  # convolutional models take any size and no img_size
        return timm.create_model(name, num_classes=classes, **options)
    except AssertionError as error:
        raise InvalidInput(f"{name} must take images of {image_size} px, but {error}; choose another model.") from error


def require_timm_model(name: str) -> None:
    """Raise `InvalidInput` with the nearest name where timm has no such model; it has over a thousand to list."""
    if not timm.is_model(name):
        hint = nearest(name, timm.list_models())
        raise InvalidInput(f"unknown timm model {name!r}{hint}; timm.list_models() lists the names.")


def classifier_names(model: nn.Module) -> tuple[str, ...]:
    """Names of the timm model's last layers: one, or one more for a distillation token."""
    names = timm_config(model)["classifier"]
    return (names,) if isinstance(names, str) else tuple(names)


def timm_config(model: nn.Module) -> dict[str, Any]:
    """What timm knows of a model's pretrained weights, normalisation and layers."""
    config: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    return config


def read_weights(path: Path) -> dict[str, Tensor]:
    """Named tensors of a safetensors file or of a state dict saved by torch; raises `InvalidInput` for others."""
    if path.suffix == SAFETENSORS:
        try:
            return read_tensors(path)[0]
        except InvalidInput as error:  # whose remedy is for checkpoints of ours
            raise InvalidInput(
                f"{path} must be a whole safetensors file, but it is not; restore it or get it again."
            ) from error
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the restricted unpickler fails in many ways; all mean the same here
        reason = textwrap.shorten(str(error), 160, placeholder=" ...")
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
    for classifier in classifier_names(model):
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
