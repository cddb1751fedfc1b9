"""What the architectures of all families have in common: stages with widths, an image size, classes and addresses.

Nothing here knows torch. Letters as in `docs/conventions.md`: S image side, r_i side of stage i's map, C_i
embedding channels, I_i intermediate (MLP) channels, D_i depth, H_i heads.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Self

from bhvit.errors import InvalidInput, unknown_name
from bhvit.layer_terms import NORM_KINDS
from bhvit.precision import PRECISIONS, Precision, PrecisionPlan
from bhvit.wording import counted, listed

IMAGE_CHANNELS = 3
MAX_FACTOR = 64  # of a width
MAX_SIZE = 2**20  # of anything that is counted; beyond it a typing error is likelier than a model
PATCH = 4  # stride of the stem
DOWNSAMPLE_TAPS = 4  # of a pyramid's downsampling kernels, 2 x 2
BRANCH_RADII = {3: 1, 5: 2}  # published name of a branch beside the MLP -> its radius
DOWNSAMPLE_FORMS = ("auto", "residual", "plain")
WRITTEN = {"downsample_form": "downsample"}  # option of a configuration -> its name for users, where that is another


@dataclass(frozen=True)
class StageConfig:
    """One stage: `embed_dim` C, `intermediate_dim` I, `depth` blocks, `num_heads` (used by attention stages)."""

    embed_dim: int
    intermediate_dim: int
    depth: int
    num_heads: int


class Architecture(ABC):
    """A network of one family without its precisions.

    A family's configuration is a frozen dataclass whose first field is `stages`; the others are its options, among
    them `image_size` and `num_classes`, and all have defaults.
    """

    title: ClassVar[str]  # in messages
    released_with_recu: ClassVar[bool] = False  # whether the released training uses ReCU
    stage_count: ClassVar[int] = 4
    norms: ClassVar[tuple[str, ...]] = NORM_KINDS  # to choose from, the default first
    precisions: ClassVar[tuple[str, ...]] = tuple(PRECISIONS)  # that a layer may have, likewise
    stages: tuple[StageConfig, ...]
    image_size: int
    num_classes: int

    @classmethod
    def from_lists(
        cls,
        embed_dims: Sequence[int],
        intermediate_dims: Sequence[int],
        depths: Sequence[int],
        num_heads: Sequence[int],
        *values: Any,
        **options: Any,
    ) -> Self:
        """Build from four lists with one entry a stage; `values` and `options` are the other fields."""
        lists = {
            "embed_dims": embed_dims,
            "intermediate_dims": intermediate_dims,
            "depths": depths,
            "num_heads": num_heads,
        }
        for name, entries in lists.items():
            if len(entries) != cls.stage_count:
                raise InvalidInput(
                    f"{name} must have {counted(cls.stage_count, 'number')}, one a stage, but it is {list(entries)}."
                )
        stages = tuple(StageConfig(*row) for row in zip(*lists.values(), strict=True))
        names = [field.name for field in fields(cls)][1:]  # type: ignore[arg-type]  # of the dataclass
        return cls(stages, **_immutable(dict(zip(names, values, strict=False)) | options))  # type: ignore[call-arg]

    @property
    def embed_dims(self) -> tuple[int, ...]:
        """C_i of the stages."""
        return tuple(s.embed_dim for s in self.stages)

    @property
    def intermediate_dims(self) -> tuple[int, ...]:
        """I_i of the stages."""
        return tuple(s.intermediate_dim for s in self.stages)

    @property
    def depths(self) -> tuple[int, ...]:
        """D_i of the stages."""
        return tuple(s.depth for s in self.stages)

    @property
    def num_heads(self) -> tuple[int, ...]:
        """H_i of the stages."""
        return tuple(s.num_heads for s in self.stages)

    @property
    @abstractmethod
    def resolutions(self) -> tuple[int, ...]:
        """r_i, the side of the feature map of the stages."""

    @abstractmethod
    def block_parts(self, stage: int) -> tuple[str, ...]:
        """Names of the parts of a block of this stage that have a precision each, in forward order."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every layer that has a precision of its own, in forward order.

        `downsample<i>` leads into stage i. Stem and head are always real-valued and have no address.
        """
        names: list[str] = []
        for i, stage in enumerate(self.stages):
            if i:
                names.append(f"downsample{i}")
            names += [f"stage{i}.block{j}.{part}" for j in range(stage.depth) for part in self.block_parts(i)]
        return tuple(names)

    def layers_of(self, plan: PrecisionPlan) -> dict[str, Precision]:
        """Address -> precision; raises `InvalidInput` where the plan does not fit the architecture."""
        layers = plan.resolve(self.addresses)
        for address, precision in layers.items():
            self.require_precision(precision, address)
        return layers

    def require_precision(self, precision: Precision, what: str) -> None:
        """Raise `InvalidInput` unless layers of the family may have this precision; `what` has it."""
        if precision.name not in self.precisions:
            names = listed(self.precisions, "or")
            raise InvalidInput(f"layers of a {self.title} must be {names}, but {what} is {precision}; use {names}.")

    @classmethod
    def recu_of(cls, recu: bool | None) -> bool:
        """Whether a model is trained with ReCU: as asked for, or (None) as released; never without binary weights."""
        has_signs = any(PRECISIONS[name].weight_bits == 1 for name in cls.precisions)
        return has_signs and (cls.released_with_recu if recu is None else recu)

    def require_norm(self, norm: str) -> None:
        """Raise `InvalidInput` unless the family has this norm."""
        if norm not in self.norms:
            raise InvalidInput(f"norm must be {listed(self.norms, 'or')} in a {self.title}, but it is {norm!r}.")

    def width_step(self, stage: int) -> int:
        """What C of this stage must be a multiple of."""
        return self.stages[stage].num_heads

    def scaled(self, hidden: float | Sequence[float] = 1, intermediate: float | Sequence[float] = 1) -> Self:
        """This architecture with C_i times `hidden` and I_i times `intermediate` (one factor, or one a stage).

        C_i is rounded to the nearest legal multiple (`width_step`), I_i to the nearest integer; neither falls below
        its smallest legal value.
        """
        hidden_factors = self._per_stage("hidden", hidden)
        intermediate_factors = self._per_stage("intermediate", intermediate)
        stages = tuple(
            replace(
                stage,
                embed_dim=scaled_dim(stage.embed_dim, hidden_factors[i], self.width_step(i)),
                intermediate_dim=scaled_dim(stage.intermediate_dim, intermediate_factors[i]),
            )
            for i, stage in enumerate(self.stages)
        )
        return replace(self, stages=stages)  # type: ignore[type-var]  # of the dataclass

    @classmethod
    def options_at(cls, image_size: int) -> dict[str, Any]:
        """Options whose default follows from the image size."""
        return {}

    def to_json(self) -> dict[str, Any]:
        """Plain data of all fields."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]  # of the dataclass

    @property
    def option_names(self) -> tuple[str, ...]:
        """Fields other than the stages."""
        return tuple(field.name for field in fields(self))[1:]  # type: ignore[arg-type]  # of the dataclass

    def with_options(self, **options: Any) -> Self:
        """This architecture with other values of some of its options; raises `InvalidInput` for one it has not.

        With another image size, options that follow from it (`options_at`) do.
        """
        for name in options:
            if name not in self.option_names:
                raise unknown_name(f"option of a {self.title}", name, self.option_names)
        if "image_size" in options:
            require_positive("image_size", options["image_size"])
            options = {**self.options_at(options["image_size"]), **options}
        return replace(self, **_immutable(options))  # type: ignore[type-var]  # of the dataclass

    def full_precision(self) -> Self:
        """The architecture of the full-precision model that a quantized one starts from."""
        return self

    def in_one_form(self) -> Self:
        """The architecture whose graph is that of its full-precision model whatever its plan is."""
        return self

    def _per_stage(self, name: str, factor: float | Sequence[float]) -> tuple[float, ...]:
        count = len(self.stages)
        factors = tuple(factor) if isinstance(factor, Sequence) else (factor,) * count
        if len(factors) != count:
            raise InvalidInput(f"{name} must be one factor or {count}, one a stage, but it has {len(factors)}.")
        for f in factors:
            if isinstance(f, bool) or not isinstance(f, int | float) or not 0 < f <= MAX_FACTOR:
                raise InvalidInput(f"{name} factors must be positive numbers up to {MAX_FACTOR}, but one is {f!r}.")
        return factors


class HalvingArchitecture(Architecture):
    """Four stages on maps whose side halves from stage to stage, from a quarter of the image's."""

    last_stride: ClassVar[int] = PATCH * 2 ** (Architecture.stage_count - 1)  # pixels a token of the last map, a side

    @property
    def resolutions(self) -> tuple[int, ...]:
        """r_i, the side of the feature map of the four stages."""
        return tuple(self.image_size // PATCH // 2**i for i in range(self.stage_count))


class PyramidArchitecture(HalvingArchitecture):
    """Stages of token mixers and MLPs behind a stem that takes patches of 4 x 4 pixels.

    Its dataclasses have a field `downsample_form`: `residual`, `plain` or `auto` (see `form_of_downsample`). A family
    says whether its stem ends in a GELU, along which `branch_directions` of the map each of the `branches` beside the
    MLP runs (`bhvit.layers.Branches`), and whether these go on at the other side of the map.
    """

    stem_gelu: ClassVar[bool]
    branch_directions: ClassVar[tuple[str, ...]]
    circular_branches: ClassVar[bool]
    downsample_form: str

    @property
    @abstractmethod
    def branches(self) -> Mapping[int, int]:
        """Published name of each branch -> its radius."""

    @property
    def has_layer_scale(self) -> bool:
        """Whether attention and MLP end in a LayerScale."""
        return True

    def form_of_downsample(self, real_valued: bool, plan_quantizes: bool) -> str:
        """`residual` or `plain` for one downsampling layer, given whether it is real-valued inside its plan.

        `auto` reproduces the released BHViT and BinaryViT: plain where a downsampling layer is real-valued inside a
        plan that quantizes something, residual everywhere else.
        """
        if self.downsample_form != "auto":
            return self.downsample_form
        return "plain" if real_valued and plan_quantizes else "residual"

    def full_precision(self) -> Self:
        """The full-precision parent always has downsampling layers of residual form."""
        return replace(self, downsample_form="auto")  # type: ignore[type-var]  # of the dataclass

    def in_one_form(self) -> Self:
        """Downsampling layers of residual form, as in the full-precision parent."""
        return replace(self, downsample_form="residual")  # type: ignore[type-var]  # of the dataclass


def scaled_dim(dim: int, factor: float, step: int = 1) -> int:
    """`dim` times `factor`, to the nearest multiple of `step` (half rounds up), at least one of it."""
    return max(step, step * math.floor(dim * factor / step + 0.5))


def require_positive(name: str, value: object) -> None:
    """Raise `InvalidInput` unless `value` is a whole number of 1 to `MAX_SIZE`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInput(f"{name} must be a positive integer, but it is {value!r}.")
    if value > MAX_SIZE:
        raise InvalidInput(f"{name} must be at most {MAX_SIZE}, but it is {value}.")


def require_bool(name: str, value: object) -> None:
    """Raise `InvalidInput` unless `value` is true or false."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{name} must be true or false, but it is {value!r}.")


def require_whole_list(name: str, value: object) -> None:
    """Raise `InvalidInput` unless `value` is a tuple of whole numbers."""
    if not isinstance(value, tuple) or any(isinstance(entry, bool) or not isinstance(entry, int) for entry in value):
        raise InvalidInput(f"{name} must be a list of whole numbers, but it is {value!r}.")


def require_branches(architecture: PyramidArchitecture, name: str) -> None:
    """Raise `InvalidInput` unless the branches that the field `name` lists are distinct keys of `BRANCH_RADII`."""
    branches = getattr(architecture, name)
    require_whole_list(name, branches)
    if len(set(branches)) != len(branches) or not set(branches) <= set(BRANCH_RADII):
        raise InvalidInput(f"{name} must be distinct and among {sorted(BRANCH_RADII)}, but they are {list(branches)}.")


def require_multiple(name: str, value: int, unit: int) -> None:
    """Raise `InvalidInput` unless `value` is a multiple of `unit`."""
    if value % unit:
        nearest = unit * max(1, round(value / unit))
        raise InvalidInput(f"{name} must be a multiple of {unit}, but it is {value}; use {nearest}.")


def require_stages(architecture: Architecture) -> None:
    """Raise `InvalidInput` unless there are as many stages as the family has, of positive sizes, and classes."""
    if len(architecture.stages) != architecture.stage_count:
        stages = counted(architecture.stage_count, "stage")
        raise InvalidInput(f"a {architecture.title} has {stages}, but {len(architecture.stages)} are given.")
    for i, stage in enumerate(architecture.stages):
        for name in ("embed_dim", "intermediate_dim", "depth", "num_heads"):
            require_positive(f"stage {i} {name}", getattr(stage, name))
    for name in ("image_size", "num_classes"):
        require_positive(name, getattr(architecture, name))


def require_downsample_form(architecture: PyramidArchitecture) -> None:
    """Raise `InvalidInput` for an unknown form of the downsampling layers."""
    if architecture.downsample_form not in DOWNSAMPLE_FORMS:
        raise unknown_name("downsample_form", architecture.downsample_form, DOWNSAMPLE_FORMS)


def require_heads(architecture: Architecture, stage: int) -> None:
    """Raise `InvalidInput` unless the heads of an attention stage divide its channels."""
    s = architecture.stages[stage]
    if s.embed_dim % s.num_heads:
        divisors = ", ".join(str(d) for d in range(1, 17) if s.embed_dim % d == 0)
        raise InvalidInput(
            f"num_heads must divide embed_dim, but stage {stage} has num_heads={s.num_heads}, "
            f"embed_dim={s.embed_dim}; use one of {divisors}."
        )


def _immutable(options: dict[str, Any]) -> dict[str, Any]:
    """`options` with lists as tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
