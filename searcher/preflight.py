"""What can be known to fail before a search writes anything; no torch here."""

from __future__ import annotations

import os
import shutil
import sys

from bhvit.errors import InvalidInput
from searcher.pruning import Hyperband
from searcher.recipe import TrainingRecipe
from searcher.space import Space
from searcher.teacher_file import teacher_source


def check_trainable(space: Space, processes: int | None = None) -> None:
    """Raise `InvalidInput` where no candidate of `space` could be trained as the space says.

    Checked are recipe and data (both given, the data set there and of the model's classes), the teacher's file (there,
    and fit to teach on this data set), the length of Hyperband's brackets, that batches can be shared by the
    `processes` of a training (default: the space's), and the compiler where the recipe needs one. A public data set is
    fetched where `data.download` allows.
    """
    recipe, data = space.training
    check_processes(recipe, space.search.processes if processes is None else processes)
    check_compiler(recipe)
    _check_pruner(space, recipe)
    listing = data.list_images()
    listing.require_classes(space.classes)
    if recipe.teacher_file is not None:
        teacher_source(recipe, listing)


def check_processes(recipe: TrainingRecipe, processes: int) -> None:
    """Raise `InvalidInput` where `processes` cannot have equal parts of a batch, in pairs where images are mixed."""
    if processes < 1:
        raise InvalidInput(f"processes must be at least 1, but it is {processes}; use 1, or the number of GPUs.")
    if processes == 1:
        return
    least = (2 if recipe.augmentation.mixes else 1) * processes
    if recipe.batch_size % least:
        why = "twice processes where mixup or cutmix is on" if recipe.augmentation.mixes else "processes"
        nearest = max(least, round(recipe.batch_size / least) * least)
        raise InvalidInput(
            f"batch_size must be a multiple of {why}, but they are {recipe.batch_size} and {processes}; use "
            f"batch_size: {nearest}, or another number of processes."
        )


def check_compiler(recipe: TrainingRecipe) -> None:
    """Raise `InvalidInput` where the recipe asks for torch.compile and there is no C++ compiler."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if recipe.compile and shutil.which(compiler) is None:
        raise InvalidInput(
            f"recipe.compile needs the C++ compiler {compiler}, but it is not on the path; install one, name it in the "
            "environment variable CXX, or use compile: false."
        )


def _check_pruner(space: Space, recipe: TrainingRecipe) -> None:
    """Hyperband would wait for epochs that never come."""
    pruner, epochs = space.search.pruner, recipe.qat.epochs
    if isinstance(pruner, Hyperband) and pruner.max_epochs > epochs:
        raise InvalidInput(
            f"search.pruner.max_epochs must be at most recipe.qat.epochs, but they are {pruner.max_epochs} and "
            f"{epochs}; use max_epochs: {epochs}."
        )
