"""Where a teacher starts: timm's pretrained weights, a checkpoint at hand, or random weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from torch import nn

from bhvit.errors import InvalidInput
from searcher.outcomes import MissingData
from searcher.teacher_file import content_digest
from searcher.teachers import classifier_names, read_weights, require_timm_model, timm_config, timm_model

Say = Callable[[str], None]


@dataclass(frozen=True)
class Start:
    """A timm model for images of `image_size` pixels, and its weights before the first epoch.

    They are those of the file `checkpoint`, random (`scratch`), or else timm's pretrained ones; none of them stands in
    for another.
    """

    model: str
    image_size: int
    checkpoint: Path | None = None
    scratch: bool = False

    def __post_init__(self) -> None:
        require_timm_model(self.model)
        if self.checkpoint is not None and self.scratch:
            raise InvalidInput(
                f"initial weights are a checkpoint's or random, but both --checkpoint {self.checkpoint} and --scratch "
                "are given; drop one."
            )
        if self.checkpoint is not None and not self.checkpoint.is_file():
            raise MissingData(
                f"the initial weights are expected in {self.checkpoint}, but there is no such file; correct the path."
            )

    @property
    def origin(self) -> str:
        """Where the weights come from, in words that identify them."""
        if self.scratch:
            return "random weights"
        if self.checkpoint is not None:
            return f"{self.checkpoint.name} (sha256 {content_digest(self.checkpoint)})"
        config = timm.get_pretrained_cfg(self.model, allow_unregistered=False)
        assert config is not None
        return f"timm pretrained {config.architecture}.{config.tag or 'untagged'}"

    def build(self, classes: int, say: Say) -> nn.Module:
        """The model with a head of `classes` classes, new (random) where the weights' own has another number.

        `say` is told of downloads and new heads. Raises `InvalidInput` where the checkpoint is of another model, and
        `MissingData` where pretrained weights cannot be had.
        """
        if self.scratch:
            return self.random(classes)
        model = self._pretrained(say) if self.checkpoint is None else self._from_checkpoint(self.checkpoint)
        found: int = model.num_classes  # type: ignore[assignment]
        if found != classes:
            model.reset_classifier(classes)  # type: ignore[operator]
            say(f"new head of {classes} classes, randomly initialised: the weights have one of {found or 'none'}")
        return model

    def random(self, classes: int) -> nn.Module:
        """The model with random weights."""
        return timm_model(self.model, classes, self.image_size)

    def _from_checkpoint(self, path: Path) -> nn.Module:
        """The model with the checkpoint's own head; timm adapts position embeddings to the size of the images."""
        weights = read_weights(path)
        with torch.device("meta"):
            names = classifier_names(self.random(1))
        heads = [weights[f"{name}.weight"] for name in names if f"{name}.weight" in weights]
        classes = heads[0].shape[0] if heads else 0
        overlay = {"state_dict": weights, "num_classes": classes, "label_offset": 0}
        try:
            model = timm_model(self.model, classes, self.image_size, pretrained=True, pretrained_cfg_overlay=overlay)
        except Exception as error:  # names or shapes are wrong, and timm's adapters meet that in many ways
            reason = " ".join(str(error).split())[:200]
            raise InvalidInput(
                f"{path} must hold the weights of {self.model}, but {reason}; correct --model."
            ) from error
        timm_config(model).pop("state_dict", None)  # would keep the weights in memory
        return model

    def _pretrained(self, say: Say) -> nn.Module:
        say(f"taking timm's pretrained weights of {self.model} from the cache, or fetching them")
        classes = timm_config(self.random(1))["num_classes"]  # a size that the model cannot take is told here
        try:
            with _quiet("huggingface_hub"):
                return timm_model(self.model, classes, self.image_size, pretrained=True)
        except Exception as error:  # the hub, its transport and timm have an error of their own for each failure
            reason = " ".join(str(error).split()).split(". ")[0].rstrip(".")[:200]
            file = f"{self.model}.safetensors"
            raise MissingData(
                f"timm's pretrained weights of {self.model} must be in the cache or fetched, but {reason}; on a "
                'machine with a network run `python -c "import timm, safetensors.torch as s; '
                f"s.save_model(timm.create_model('{self.model}', pretrained=True), '{file}')\"` and give the file with "
                f"--checkpoint {file}, or start from random weights with --scratch."
            ) from error


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Without the warnings of a library that tries again and again; its last error is ours to report."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
