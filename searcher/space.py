"""A search space: the question a search answers, read strictly from a YAML file; no torch, no optuna.

What the keys mean stands in `docs/space_files.md`; the smallest file is `model: {preset: tiny}`, one candidate.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from bhvit.cost import CostReport
from bhvit.device_profile import DeviceProfile
from bhvit.errors import InvalidInput
from bhvit.precision import PrecisionPlan, precision_named
from bhvit.staged import Architecture
from searcher.budget import Budget
from searcher.candidate import Candidate
from searcher.quantities import QUANTITIES
from searcher.recipe import DataConfig, TrainingRecipe
from searcher.space_file import SearchSection, SpaceFile, read_space_file, to_plain
from searcher.variables import Choice, Kind, Variable, choices_from, precision_layers, size_of, variables_of
from searcher.yaml_file import read_yaml

MAX_MESSAGE = 600


@dataclass(frozen=True)
class Space:
    """All candidates that a search chooses among, and how it chooses and trains.

    Configurations are numbered 0 .. size - 1 in mixed radix over `variables` (the last one varies fastest); `choices`
    everywhere map each variable's name to its value. `name` is the file's name without suffix.
    """

    name: str
    file: SpaceFile

    def __post_init__(self) -> None:
        if self.file.widths.any or self.file.budget.relative_to:
            self._check_unit_scale()
        if "latency" in self.search.objectives and self.device is None:
            raise InvalidInput("the objective latency is that of a device, but none is named; add device to budget.")
        _ = self.budget, self.enqueued, self.candidate(self.decode(0))  # every rule is checked when the file is read

    @property
    def family(self) -> str:
        """Name of the model family."""
        return self.file.model.family

    @cached_property
    def base(self) -> Architecture:
        """The architecture whose widths are scaled."""
        return self.file.model.architecture()

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """What is chosen: widths, then precisions."""
        return variables_of(self.base, self.file.widths, self.file.precision)

    @cached_property
    def size(self) -> int:
        """Number of configurations."""
        return size_of(self.variables)

    @property
    def search(self) -> SearchSection:
        """Number of trials, seed, workers, start-up and pruning."""
        return self.file.search

    @property
    def recipe(self) -> TrainingRecipe | None:
        """How candidates are trained, where the file says so."""
        return self.file.recipe

    @property
    def data(self) -> DataConfig | None:
        """What candidates are trained on, where the file says so."""
        return self.file.data

    @property
    def training(self) -> tuple[TrainingRecipe, DataConfig]:
        """Recipe and data; raises `InvalidInput` where the file lacks one of them."""
        if self.recipe is None or self.data is None:
            lacking = "recipe" if self.recipe is None else "data"
            raise InvalidInput(f"{self.name}: training needs recipe and data, but the space lacks {lacking}; add it.")
        return self.recipe, self.data

    @cached_property
    def enqueued(self) -> tuple[dict[str, Choice], ...]:
        """Configurations to train before anything that the sampler proposes, in the file's order."""
        points = [self.complete(point, f"enqueue[{i}]") for i, point in enumerate(self.file.enqueue)]
        for i, point in enumerate(points):
            if point in points[:i]:
                raise InvalidInput(
                    f"enqueue[{i}] is the same configuration as enqueue[{points.index(point)}]; remove one."
                )
        return tuple(points)

    @cached_property
    def reference(self) -> Candidate | None:
        """The candidate that relative limits refer to."""
        relative_to = self.file.budget.relative_to
        if relative_to is None:
            return None
        architecture = self.base.scaled(**relative_to.factors)
        return self._candidate(architecture, PrecisionPlan.named(relative_to.precision))

    @cached_property
    def budget(self) -> Budget:
        """The limits in bytes, OPs and seconds."""
        return self.file.budget.resolve(None if self.reference is None else self.cost_of(self.reference).total)

    @property
    def device(self) -> DeviceProfile | None:
        """The device that latencies are predicted for, where one is named."""
        return self.file.budget.device

    @property
    def quantities(self) -> tuple[str, ...]:
        """What candidates are known to cost: latency only where there is a device."""
        return tuple(name for name in QUANTITIES if name != "latency" or self.device is not None)

    @property
    def front_objectives(self) -> tuple[str, ...]:
        """The search's objectives; where accuracy is the only one, also all that candidates cost."""
        objectives = self.search.objectives
        return objectives if len(objectives) > 1 else (*objectives, *self.quantities)

    def cost_of(self, candidate: Candidate) -> CostReport:
        """Its cost layer by layer, in the accounting and on the device of the space."""
        return candidate.cost(self.file.budget.accounting, self.device)

    def candidate(self, choices: Mapping[str, Choice]) -> Candidate:
        """The candidate with these choices, one for every variable (see `complete`)."""
        stages = len(self.base.stages)
        widths: dict[str, list[float]] = {str(kind): [1.0] * stages for kind in (Kind.HIDDEN, Kind.INTERMEDIATE)}
        scaled = False
        for variable in self.variables:
            for stage in variable.stages:
                widths[variable.kind][stage] = float(choices[variable.name])
                scaled = True
        architecture = self.base.scaled(**widths) if scaled else self.base
        layers = precision_layers(
            architecture.addresses, precision_named(self.file.precision.default), self.variables, choices
        )
        return self._candidate(architecture, PrecisionPlan.of_layers(layers))

    def complete(self, point: Mapping[str, Any], where: str = "choices") -> dict[str, Choice]:
        """A choice for every variable from some; a key may be a name, a group or a glob (`choices_from`)."""
        return choices_from(self.variables, point, where)

    def decode(self, index: int) -> dict[str, Choice]:
        """Choices of configuration `index`."""
        if not 0 <= index < self.size:
            raise InvalidInput(f"index must be in 0 .. {self.size - 1}, but it is {index}.")
        digits: list[int] = []
        for variable in reversed(self.variables):
            index, digit = divmod(index, len(variable.choices))
            digits.append(digit)
        return self.choices_of(digits[::-1])

    def encode(self, choices: Mapping[str, Choice]) -> int:
        """Index of the configuration with these choices; the inverse of `decode`."""
        index = 0
        for variable, digit in zip(self.variables, self.digits_of(choices), strict=True):
            index = index * len(variable.choices) + digit
        return index

    def choices_of(self, digits: Sequence[int]) -> dict[str, Choice]:
        """Choices from the index of each variable's choice."""
        return {v.name: v.choices[int(digit)] for v, digit in zip(self.variables, digits, strict=True)}

    def digits_of(self, choices: Mapping[str, Any]) -> tuple[int, ...]:
        """Index of each variable's choice; raises `InvalidInput` where one is missing or unknown."""
        missing = [v.name for v in self.variables if v.name not in choices]
        if missing:
            raise InvalidInput(f"choices lack {', '.join(missing)}; use Space.complete.")
        return tuple(v.digit_of(choices[v.name]) for v in self.variables)

    @cached_property
    def question(self) -> dict[str, Any]:
        """The content that makes two searches the same question: neither name, limits, trials nor how fast it runs."""
        plain, model = self.to_plain(), self.file.model
        return {
            "model": {
                "family": self.family,
                **json.loads(json.dumps(self.base.to_json())),
                "norm": model.norm,
                "recu": model.recu,
            },
            **{name: plain[name] for name in ("widths", "precision")},
            "recipe": self.recipe and self.recipe.meaning_json(),
            "data": self.data and self.data.identity,
            "accounting": self.file.budget.accounting,
            "seed": self.search.seed,
            **({} if self.search.objectives == ("accuracy",) else {"objectives": list(self.search.objectives)}),
        }

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of a hash of `question`."""
        text = json.dumps(self.question, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_plain(self) -> dict[str, Any]:
        """Canonical plain data of the whole file, every default written out; `parse_space` reads it back."""
        return to_plain(self.file)

    def to_yaml(self) -> str:
        """`to_plain` as YAML."""
        return yaml.safe_dump(self.to_plain(), sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)

    def _check_unit_scale(self) -> None:
        given, scaled = self.base.embed_dims, self.base.scaled().embed_dims
        if given != scaled:
            raise InvalidInput(
                f"embed_dims must be multiples of 4 and of num_heads in every stage for widths to scale, but they are "
                f"{list(given)} with num_heads {list(self.base.num_heads)}; use {list(scaled)}."
            )

    def _candidate(self, architecture: Architecture, plan: PrecisionPlan) -> Candidate:
        model = self.file.model
        return Candidate(model.family, architecture, plan, model.norm, model.recu)


def load_space(path: str | Path) -> Space:
    """The space in a YAML file; raises `InvalidInput`, one line that starts with the file's name."""
    path = Path(path)
    return parse_space(read_yaml(path), path.stem, str(path))


def parse_space(data: Any, name: str, source: str | None = None) -> Space:
    """The space in plain data; `source` (the file, or the space's name) starts the message of every error."""
    try:
        return Space(name, read_space_file(data))
    except InvalidInput as error:
        text = " ".join(f"{source or name}: {error}".split())
        raise InvalidInput(text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 4] + " ...") from error
