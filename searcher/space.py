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
from bhvit.families import family_named
from bhvit.staged import Architecture
from bhvit.wording import listed, plural
from searcher.budget import Budget
from searcher.candidate import Candidate
from searcher.model_space import MODEL, ModelSpace, model_spaces, union
from searcher.quantities import QUANTITIES
from searcher.recipe import DataConfig, TrainingRecipe
from searcher.space_file import SearchSection, SpaceFile, read_space_file, to_plain
from searcher.variables import Choice, Variable, choices_from, unknown_variable
from searcher.yaml_file import read_yaml

MAX_MESSAGE = 600


@dataclass(frozen=True)
class Space:
    """All candidates that a search chooses among, and how it chooses and trains.

    Configurations are numbered 0 .. size - 1, model by model, each in mixed radix over its variables (the last one
    varies fastest); `choices` everywhere map the name of each variable of a model to its value. A code has a digit for
    each of `variables`; under a model that lacks one it is inactive, which is a digit of its own
    (`Variable.radix`). `name` is the file's name without suffix.
    """

    name: str
    file: SpaceFile

    def __post_init__(self) -> None:
        if "latency" in self.search.objectives and self.device is None:
            raise InvalidInput("the objective latency is that of a device, but none is named; add device to budget.")
        if "latency" in self.search.objectives or self.file.budget.latency is not None:
            self.check_latencies(self.models)
        _ = self.variables, self.budget, self.enqueued  # every rule is checked when the file is read

    @cached_property
    def models(self) -> tuple[ModelSpace, ...]:
        """What can be chosen of each model; most spaces have one."""
        return model_spaces(self.file)

    @property
    def mixed(self) -> bool:
        """Whether the search chooses among several models."""
        return len(self.models) > 1

    @property
    def only(self) -> ModelSpace:
        """The model of a space that has one; raises `InvalidInput` for one that chooses among several."""
        if self.mixed:
            raise InvalidInput(
                f"this needs a space of one model, but {self.name} chooses among {listed(self.labels)}; write "
                "one of them in a space file of its own."
            )
        return self.models[0]

    @property
    def family(self) -> str:
        """Name of the only model's family."""
        return self.only.family

    @property
    def base(self) -> Architecture:
        """The only model's architecture, whose widths are scaled."""
        return self.only.base

    @property
    def image_size(self) -> int:
        """Side of the images, the same for all models."""
        return self.models[0].section.image_size

    @property
    def classes(self) -> int:
        """Classes of the head, the same for all models."""
        return self.models[0].section.classes

    @cached_property
    def addresses(self) -> tuple[str, ...]:
        """The layers of all models, each once."""
        return tuple(dict.fromkeys(address for model in self.models for address in model.base.addresses))

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """What is chosen: the model where there are several, widths, then precisions."""
        return union(self.models) if self.mixed else self.only.variables

    @cached_property
    def size(self) -> int:
        """Number of configurations, of all models together."""
        return sum(model.size for model in self.models)

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
        model = self.reference_model
        try:
            found = model.reference(relative_to)
            _ = found.layers  # refuses precisions that the family lacks
        except InvalidInput as error:
            named = f"model {model.label}: " if model.label else ""
            raise InvalidInput(f"budget.relative_to: {named}{error}") from error
        return found

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
        """What candidates are known to cost: latency only where there is a device, and it can be predicted for all."""
        predicted = self.device is not None and all(family_named(m.family).work is not None for m in self.models)
        return tuple(name for name in QUANTITIES if name != "latency" or predicted)

    @property
    def front_objectives(self) -> tuple[str, ...]:
        """The search's objectives; where accuracy is the only one, also all that candidates cost."""
        objectives = self.search.objectives
        return objectives if len(objectives) > 1 else (*objectives, *self.quantities)

    @cached_property
    def reference_model(self) -> ModelSpace:
        """The model that relative limits refer to: the first unless the file names one."""
        relative_to = self.file.budget.relative_to
        return self._referred(None if relative_to is None else relative_to.model)

    def cost_of(self, candidate: Candidate) -> CostReport:
        """Its cost layer by layer, in the accounting and on the device of the space."""
        return candidate.cost(self.file.budget.accounting, self.device)

    def check_latencies(self, models: Sequence[ModelSpace]) -> None:
        """Raise `InvalidInput` where there is a device, but no latency can be predicted for one of `models`."""
        if self.device is None:
            return
        wanted = "latency" in self.search.objectives or self.file.budget.latency is not None
        remedy = "limit memory or ops instead, and leave latency and device out" if wanted else "leave the device out"
        for model in models:
            whose = f"model {model.label}" if model.label else "this one"
            family_named(model.family).work_of_runtime(whose, remedy)

    def model_of(self, choices: Mapping[str, Any]) -> ModelSpace:
        """The model that the choices are of; raises `InvalidInput` where they name none of the space's."""
        if not self.mixed:
            return self.models[0]
        if MODEL not in choices:
            raise InvalidInput(f"choices lack {MODEL}; use Space.complete.")
        return self.models[self.variables[0].digit_of(choices[MODEL])]

    def candidate(self, choices: Mapping[str, Choice]) -> Candidate:
        """The candidate with these choices, one for every variable of its model (see `complete`)."""
        return self.model_of(choices).candidate(choices)

    def complete(self, point: Mapping[str, Any], where: str = "choices") -> dict[str, Choice]:
        """A choice for every variable of a model from some; a key may be a name, a group or a glob (`choices_from`).

        Without a model it is the first. A key that speaks only of variables of other models is an error.
        """
        if not self.mixed:
            if MODEL in point:
                raise InvalidInput(
                    f"{where}: {MODEL} chooses among several models, but {self.name} has one; leave it out."
                )
            return choices_from(self.variables, point, where)
        rest = {key: value for key, value in point.items() if key != MODEL}
        try:
            model = self.model_of({MODEL: point.get(MODEL, self.variables[0].default)})
        except InvalidInput as error:
            raise InvalidInput(f"{where}: {error}") from error
        for key in rest:
            self._check_covers(key, model, where, named=MODEL in point)
        return {MODEL: model.label, **choices_from(model.variables, rest, where, f"model {model.label}")}

    def decode(self, index: int) -> dict[str, Choice]:
        """Choices of configuration `index`."""
        if not 0 <= index < self.size:
            raise InvalidInput(f"index must be in 0 .. {self.size - 1}, but it is {index}.")
        for model in self.models:
            if index < model.size:
                break
            index -= model.size
        return self._named(model, model.decode(index))

    def encode(self, choices: Mapping[str, Choice]) -> int:
        """Index of the configuration with these choices; the inverse of `decode`."""
        chosen = self.model_of(choices)
        before = self.models[: self.models.index(chosen)]
        return sum(model.size for model in before) + chosen.encode(choices)

    def choices_of(self, digits: Sequence[int]) -> dict[str, Choice]:
        """Choices of the active variables, from the digit of every variable."""
        if not self.mixed:
            return self.only.choices_of(digits)
        place = int(digits[0])
        model = self.models[place]
        own = [known.index(digits[column]) for column, known in self.own_digits[place]]
        return self._named(model, model.choices_of(own))

    def digits_of(self, choices: Mapping[str, Any]) -> tuple[int, ...]:
        """Index of each variable's choice, or `Variable.inactive`: the only code of a configuration.

        Raises `InvalidInput` where a choice is missing or unknown.
        """
        model = self.model_of(choices)
        own = model.digits_of(choices)
        if not self.mixed:
            return own
        digits = [variable.inactive for variable in self.variables]
        place = self.models.index(model)
        digits[0] = place
        for (column, known), digit in zip(self.own_digits[place], own, strict=True):
            digits[column] = known[digit]
        return tuple(digits)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the models, where there are several."""
        return tuple(model.label for model in self.models)

    @cached_property
    def own_digits(self) -> tuple[tuple[tuple[int, tuple[int, ...]], ...], ...]:
        """For each variable of each model its place among `variables`, and the digit there of each of its choices.

        Both ascend: a model may lack variables, and choices of those that it has.
        """
        place = {variable.name: i for i, variable in enumerate(self.variables)}
        return tuple(
            tuple((i := place[v.name], tuple(map(self.variables[i].choices.index, v.choices))) for v in model.variables)
            for model in self.models
        )

    @cached_property
    def question(self) -> dict[str, Any]:
        """The content that makes two searches the same question: neither name, limits, trials nor how fast it runs."""
        return {
            **self._models_question(),
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

    def _models_question(self) -> dict[str, Any]:
        """Models, widths and precisions: of several models, in their order, each with its own."""
        plain = self.to_plain()
        sections = [(model, _architecture_question(model)) for model in self.models]
        if not self.mixed:
            return {"model": sections[0][1], **{name: plain[name] for name in ("widths", "precision")}}
        own = [{key: entry.get(key, plain[key]) for key in ("widths", "precision")} for entry in plain["model"]]
        return {"models": list(self.labels), "model": {m.label: q | o for (m, q), o in zip(sections, own, strict=True)}}

    def _referred(self, label: str | None) -> ModelSpace:
        """The model that relative limits refer to."""
        if label is None:
            return self.models[0]
        if not self.mixed:
            raise InvalidInput(
                f"budget.relative_to names a model where a file lists several, but it names {label!r} and there is "
                "one; leave model out."
            )
        try:
            return self.model_of({MODEL: label})
        except InvalidInput as error:
            raise InvalidInput(f"budget.relative_to: {error}") from error

    def _check_covers(self, key: object, model: ModelSpace, where: str, named: bool) -> None:
        """Raise `InvalidInput` for a key of a point that speaks of no variable of `model`, which it `named` or not."""
        having = [m.label for m in self.models if any(v.covered_by(str(key)) for v in m.variables)]
        if not having:
            unknown = unknown_variable(key, [v.name for v in self.variables])
            if named:
                unknown = unknown_variable(key, [MODEL, *(v.name for v in model.variables)], f"model {model.label}")
            raise InvalidInput(f"{where}: {unknown}")
        if model.label not in having:
            why = "" if named else ", the first, since it names no model"
            raise InvalidInput(
                f"{where}: {key!r} is a variable of {plural('model', len(having))} {listed(having)}, but the point is "
                f"of {model.label}{why}; set model to {listed(having, 'or')}, or leave {key} out."
            )

    def _named(self, model: ModelSpace, choices: dict[str, Choice]) -> dict[str, Choice]:
        """Choices of a model's variables with the model, where there are several."""
        return {MODEL: model.label, **choices} if self.mixed else choices


def _architecture_question(model: ModelSpace) -> dict[str, Any]:
    return {
        "family": model.family,
        **json.loads(json.dumps(model.base.to_json())),
        "norm": model.section.norm,
        "recu": model.section.recu,
    }


def load_space(path: str | Path) -> Space:
    """The space in a YAML file; raises `InvalidInput`, one line that starts with the file's name."""
    path = Path(path)
    return parse_space(read_yaml(path), path.stem, str(path))


def parse_space(data: Any, name: str, source: str | None = None) -> Space:
    """The space in plain data; `source` (the file, or the space's name) starts the message of every error."""
    try:
        space = Space(name, read_space_file(data))
        space.check_latencies(space.models)
        return space
    except InvalidInput as error:
        text = " ".join(f"{source or name}: {error}".split())
        raise InvalidInput(text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 4] + " ...") from error
