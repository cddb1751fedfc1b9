"""The sections of a space file as frozen dataclasses, and the way between them and plain data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bhvit.errors import InvalidInput, unknown_name
from searcher.alternatives import Alternative, models_from, with_own_defaults
from searcher.budget import BudgetSection
from searcher.device_profiles import device_from, device_to_plain
from searcher.model_section import ModelSection, with_default_precision
from searcher.pruning import Median, Pruning, pruning_from, pruning_to_plain
from searcher.quantities import QUANTITIES
from searcher.recipe import DataConfig, TrainingRecipe, recipe_from
from searcher.schema import from_mapping
from searcher.variables import PrecisionSection, WidthsSection

MOST_COSTS = 2  # among the objectives


@dataclass(frozen=True)
class SearchSection:
    """`search:` of a space file.

    `trials` counts trainings over all restarts; the first `startup` of them are drawn at random from the feasible set
    (default: chosen by the sampler). `threads` is the number of CPU threads of a training's process (default: all
    cores, shared by the processes), `processes` how many train one candidate together, on a GPU each or on the CPU; on
    the CPU results are bitwise reproducible for one number of both. `workers` train that many trials side by side; a
    trial is proposed from the results of all trials but the last `lookahead` - 1 before it (default: 1 for one worker,
    else twice the workers), so that the search is the same however long each of them takes. `objectives` are accuracy
    alone, or accuracy and the quantities that are to be small.
    """

    trials: int = 20
    seed: int = 0
    workers: int = 1
    threads: int | None = None
    processes: int = 1
    startup: int | None = None
    pruner: Pruning = field(default_factory=Median)
    objectives: tuple[str, ...] = ("accuracy",)
    lookahead: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("seed", 0), ("workers", 1), ("processes", 1), ("lookahead", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InvalidInput(f"{name} must be at least {least}, but it is {value}.")
        if self.objectives[:1] != ("accuracy",) or len(set(self.objectives)) < len(self.objectives):
            raise InvalidInput(f"objectives must be accuracy and then others, but they are {list(self.objectives)}.")
        for name in self.objectives[1:]:
            if name not in QUANTITIES:
                raise unknown_name("objective", name, QUANTITIES)
        if len(self.objectives) > 1 + MOST_COSTS:
            raise InvalidInput(
                f"objectives must be accuracy and at most {MOST_COSTS} costs, but they are {list(self.objectives)}; "
                "leave one out, or limit it in budget."
            )
        if self.threads is not None and self.threads < 1:
            raise InvalidInput(f"threads must be at least 1, but it is {self.threads}; leave it out for all cores.")
        if self.startup is not None and self.startup < 0:
            raise InvalidInput(f"startup must not be negative, but it is {self.startup}.")


@dataclass(frozen=True)
class SpaceFile:
    """A whole space file; `model` is a tuple where the study chooses among several."""

    model: ModelSection | tuple[Alternative, ...]
    widths: WidthsSection = field(default_factory=WidthsSection)
    precision: PrecisionSection = field(default_factory=PrecisionSection)
    budget: BudgetSection = field(default_factory=BudgetSection)
    search: SearchSection = field(default_factory=SearchSection)
    recipe: TrainingRecipe | None = None
    data: DataConfig | None = None
    enqueue: tuple[dict[str, Any], ...] = ()


def read_space_file(data: object) -> SpaceFile:
    """The sections from plain data, read strictly; raises `InvalidInput` naming the place in the file."""
    if not isinstance(data, Mapping):
        shown = "empty" if data is None else repr(data)
        raise InvalidInput(f"a space file must be a mapping that begins with model:, but it is {shown}.")
    sections = dict(data)
    if "model" in sections:
        models, precision = models_from(sections["model"], "model"), sections.get("precision", {})
        if isinstance(models, ModelSection):
            sections |= {"model": models, "precision": with_default_precision(precision, models)}
        else:
            sections["model"], sections["precision"] = with_own_defaults(models, precision, "precision")
    if sections.get("recipe") is not None:
        sections["recipe"] = recipe_from(sections["recipe"], "recipe")
    search = sections.get("search")
    if isinstance(search, Mapping) and "pruner" in search:
        sections["search"] = {**search, "pruner": pruning_from(search["pruner"], "search.pruner")}
    budget = sections.get("budget")
    if isinstance(budget, Mapping) and "device" in budget:
        sections["budget"] = {**budget, "device": device_from(budget["device"], "budget.device")}
    return from_mapping(SpaceFile, sections, "the space file")


def to_plain(file: SpaceFile) -> dict[str, Any]:
    """Canonical plain data with every default written out; `read_space_file` reads it back to an equal value.

    A device stands in it whole, and no word of latencies where there is none, nor of a model that limits refer to.
    """
    device = file.budget.device
    bare = dataclasses.replace(file, budget=dataclasses.replace(file.budget, latency=None, device=None))
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(bare)))
    del plain["budget"]["latency"], plain["budget"]["device"]
    model = file.model
    entries = model.to_plain() if isinstance(model, ModelSection) else [entry.to_plain() for entry in model]
    plain["model"] = json.loads(json.dumps(entries))
    if file.budget.relative_to is not None and file.budget.relative_to.model is None:
        del plain["budget"]["relative_to"]["model"]
    if device is not None:
        plain["budget"] |= {"latency": file.budget.latency, "device": device_to_plain(device)}
    plain["search"]["pruner"] = pruning_to_plain(file.search.pruner)
    return plain
