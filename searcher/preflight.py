"""What can be known to fail before a search writes anything; no torch here."""

from __future__ import annotations

from bhvit.errors import InvalidInput
from searcher.outcomes import MissingData
from searcher.pruning import Hyperband
from searcher.recipe import TrainingRecipe
from searcher.space import Space


def check_trainable(space: Space) -> None:
    """Raise `InvalidInput` where no candidate of `space` could be trained as the space says.

    Checked are recipe and data (both given, the data set there and of the model's classes), the teacher's file, the
    length of Hyperband's brackets and the number of workers. A public data set is fetched where `data.download` allows.
    """
    recipe, data = space.training
    check_workers(space)
    _check_pruner(space, recipe)
    check_teacher(recipe)
    data.list_images().require_classes(space.base.num_classes)


def check_workers(space: Space) -> None:
    """Raise `InvalidInput` where the space asks for more than one worker."""
    if space.search.workers != 1:
        raise InvalidInput(
            f"workers must be 1, but it is {space.search.workers}: this version trains one candidate at a time."
        )


def _check_pruner(space: Space, recipe: TrainingRecipe) -> None:
    """Hyperband would wait for epochs that never come."""
    pruner, epochs = space.search.pruner, recipe.qat.epochs
    if isinstance(pruner, Hyperband) and pruner.max_epochs > epochs:
        raise InvalidInput(
            f"search.pruner.max_epochs must be at most recipe.qat.epochs, but they are {pruner.max_epochs} and "
            f"{epochs}; use max_epochs: {epochs}."
        )


def check_teacher(recipe: TrainingRecipe) -> None:
    """Raise `MissingData` where the recipe's teacher is a file that is not there."""
    path = recipe.teacher_file
    if path is not None and not path.is_file():
        raise MissingData(
            f"the teacher's weights are expected in {path}, but there is no such file; put them there, or use "
            "teacher: parent or none."
        )
