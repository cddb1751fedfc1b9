"""What can be known to fail before a search writes anything; no torch here."""

from __future__ import annotations

from bhvit.errors import InvalidInput
from searcher.pruning import Hyperband
from searcher.recipe import TrainingRecipe
from searcher.space import Space
from searcher.teacher_file import teacher_source


def check_trainable(space: Space) -> None:
    """Raise `InvalidInput` where no candidate of `space` could be trained as the space says.

    Checked are recipe and data (both given, the data set there and of the model's classes), the teacher's file (there,
    and fit to teach on this data set), the length of Hyperband's brackets and the number of workers. A public data set
    is fetched where `data.download` allows.
    """
    recipe, data = space.training
    check_workers(space)
    _check_pruner(space, recipe)
    listing = data.list_images()
    listing.require_classes(space.base.num_classes)
    if recipe.teacher_file is not None:
        teacher_source(recipe, listing)


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
