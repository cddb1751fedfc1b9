"""The shape of a BHViT: widths, depths, heads and image size, validated; nothing here knows precision or torch.

Letters as in `docs/conventions.md`: S image side, r_i = S / 4 / 2^i side of stage i's map, C_i embedding channels,
I_i intermediate (MLP) channels, D_i depth, H_i heads, g window side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bhvit.errors import InvalidInput, unknown_name

STAGES = 4
PATCH = 4  # stem stride
MIXER_GROUPS = 4  # groups of the MSGDC convolutions; the channel-quarter shifts need the same divisibility
FIRST_ATTENTION_STAGE = 2
DOWNSAMPLE_FORMS = ("auto", "residual", "plain")
MAX_FACTOR = 64  # of a width
MAX_SIZE = 2**20  # of anything that is counted; beyond it a typing error is likelier than a model
SHIFT_RADII = {3: 1, 5: 2}  # published name of a shift branch -> radius of its rolls


@dataclass(frozen=True)
class StageConfig:
    """One stage: `embed_dim` C, `intermediate_dim` I, `depth` blocks, `num_heads` (used by attention stages)."""

    embed_dim: int
    intermediate_dim: int
    depth: int
    num_heads: int


@dataclass(frozen=True)
class ArchitectureConfig:
    """A BHViT without its precisions (Gao et al., CVPR 2025).

    `shifts` names the shift branches that exist (3: radius 1, 5: radius 2). `downsample_form` is `residual`, `plain`
    or `auto`; auto reproduces the released models: plain where a downsampling layer is real-valued inside a plan that
    quantizes something, residual everywhere else (see `form_of_downsample`).
    Raises `InvalidInput` where the architecture does not allow the values.
    """

    stages: tuple[StageConfig, ...]
    image_size: int = 224
    window_size: int = 7
    num_classes: int = 37
    shifts: tuple[int, ...] = (3, 5)
    downsample_form: str = "auto"

    def __post_init__(self) -> None:
        _validate(self)

    @classmethod
    def from_lists(
        cls,
        embed_dims: Sequence[int],
        intermediate_dims: Sequence[int],
        depths: Sequence[int],
        num_heads: Sequence[int],
        image_size: int = 224,
        window_size: int = 7,
        num_classes: int = 37,
        shifts: Sequence[int] = (3, 5),
        downsample_form: str = "auto",
    ) -> ArchitectureConfig:
        """Build from four lists with one entry a stage."""
        lists = {
            "embed_dims": embed_dims,
            "intermediate_dims": intermediate_dims,
            "depths": depths,
            "num_heads": num_heads,
        }
        for name, values in lists.items():
            if len(values) != STAGES:
                raise InvalidInput(f"{name} must have {STAGES} entries, one a stage, but it is {list(values)}.")
        stages = tuple(StageConfig(*row) for row in zip(*lists.values(), strict=True))
        return cls(stages, image_size, window_size, num_classes, tuple(shifts), downsample_form)

    @property
    def embed_dims(self) -> tuple[int, ...]:
        """C_i of the four stages."""
        return tuple(s.embed_dim for s in self.stages)

    @property
    def intermediate_dims(self) -> tuple[int, ...]:
        """I_i of the four stages."""
        return tuple(s.intermediate_dim for s in self.stages)

    @property
    def depths(self) -> tuple[int, ...]:
        """D_i of the four stages."""
        return tuple(s.depth for s in self.stages)

    @property
    def num_heads(self) -> tuple[int, ...]:
        """H_i of the four stages."""
        return tuple(s.num_heads for s in self.stages)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """r_i, the side of the feature map of the four stages."""
        return tuple(self.image_size // PATCH // 2**i for i in range(STAGES))

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every layer that has a precision of its own, in forward order.

        `downsample<i>` leads into stage i. Stem and head are always real-valued and have no address.
        """
        names: list[str] = []
        for i, stage in enumerate(self.stages):
            if i:
                names.append(f"downsample{i}")
            mixer = "attention" if i >= FIRST_ATTENTION_STAGE else "mixer"
            for j in range(stage.depth):
                names += [f"stage{i}.block{j}.{mixer}", f"stage{i}.block{j}.mlp"]
        return tuple(names)

    def scaled(
        self, hidden: float | Sequence[float] = 1, intermediate: float | Sequence[float] = 1
    ) -> ArchitectureConfig:
        """This architecture with C_i times `hidden` and I_i times `intermediate` (one factor, or one a stage).

        C_i is rounded to the nearest multiple of lcm(4, H_i) that the groups and heads need, I_i to the nearest
        integer; neither falls below its smallest legal value.
        """
        hidden_factors = _per_stage("hidden", hidden)
        intermediate_factors = _per_stage("intermediate", intermediate)
        stages = tuple(
            replace(
                s,
                embed_dim=scaled_embed_dim(s.embed_dim, s.num_heads, h),
                intermediate_dim=scaled_intermediate_dim(s.intermediate_dim, m),
            )
            for s, h, m in zip(self.stages, hidden_factors, intermediate_factors, strict=True)
        )
        return replace(self, stages=stages)

    def form_of_downsample(self, real_valued: bool, plan_quantizes: bool) -> str:
        """`residual` or `plain` for one downsampling layer, given whether it is real-valued inside its plan."""
        if self.downsample_form != "auto":
            return self.downsample_form
        return "plain" if real_valued and plan_quantizes else "residual"


def scaled_embed_dim(embed_dim: int, num_heads: int, factor: float) -> int:
    """`embed_dim` times `factor`, to the nearest multiple of lcm(4, heads) (half rounds up), at least one of it."""
    step = math.lcm(MIXER_GROUPS, num_heads)
    return max(step, step * math.floor(embed_dim * factor / step + 0.5))


def scaled_intermediate_dim(intermediate_dim: int, factor: float) -> int:
    """`intermediate_dim` times `factor`, to the nearest integer (half rounds up), at least 1."""
    return max(1, math.floor(intermediate_dim * factor + 0.5))


def _per_stage(name: str, factor: float | Sequence[float]) -> tuple[float, ...]:
    factors = tuple(factor) if isinstance(factor, Sequence) else (factor,) * STAGES
    if len(factors) != STAGES:
        raise InvalidInput(f"{name} must be one factor or {STAGES}, one a stage, but it has {len(factors)}.")
    for f in factors:
        if isinstance(f, bool) or not isinstance(f, int | float) or not 0 < f <= MAX_FACTOR:
            raise InvalidInput(f"{name} factors must be positive numbers up to {MAX_FACTOR}, but one is {f!r}.")
    return factors


def _positive(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInput(f"{name} must be a positive integer, but it is {value!r}.")
    if value > MAX_SIZE:
        raise InvalidInput(f"{name} must be at most {MAX_SIZE}, but it is {value}.")


def _validate(a: ArchitectureConfig) -> None:
    if len(a.stages) != STAGES:
        raise InvalidInput(f"a BHViT has {STAGES} stages, but {len(a.stages)} are given.")
    for i, s in enumerate(a.stages):
        for name in ("embed_dim", "intermediate_dim", "depth", "num_heads"):
            _positive(f"stage {i} {name}", getattr(s, name))
        if s.embed_dim % MIXER_GROUPS:
            raise InvalidInput(
                f"embed_dim must be a multiple of {MIXER_GROUPS} (convolution groups, channel quarters), but stage {i} "
                f"has embed_dim={s.embed_dim}; use {MIXER_GROUPS * max(1, round(s.embed_dim / MIXER_GROUPS))}."
            )
        if i >= FIRST_ATTENTION_STAGE and s.embed_dim % s.num_heads:
            divisors = ", ".join(str(d) for d in range(1, 17) if s.embed_dim % d == 0)
            raise InvalidInput(
                f"num_heads must divide embed_dim, but stage {i} has num_heads={s.num_heads}, "
                f"embed_dim={s.embed_dim}; use one of {divisors}."
            )
    for name in ("image_size", "window_size", "num_classes"):
        _positive(name, getattr(a, name))
    if a.window_size % 2 == 0:
        raise InvalidInput(f"window_size must be odd, but it is {a.window_size}; use 3, 5 or 7.")
    unit = PATCH * 2 ** (STAGES - 1) * a.window_size
    if a.image_size % unit:
        nearest = unit * max(1, round(a.image_size / unit))
        raise InvalidInput(
            f"image_size must be a multiple of 32 * window_size = {unit}, but it is {a.image_size}; "
            f"use {nearest}, or another window_size (image_size / 32 / window_size must be whole)."
        )
    if len(set(a.shifts)) != len(a.shifts) or not set(a.shifts) <= set(SHIFT_RADII):
        raise InvalidInput(f"shifts must be distinct and among {sorted(SHIFT_RADII)}, but they are {list(a.shifts)}.")
    if a.downsample_form not in DOWNSAMPLE_FORMS:
        raise unknown_name("downsample_form", a.downsample_form, DOWNSAMPLE_FORMS)


_TINY_WIDTHS = ((64, 128, 256, 512), (512, 1024, 1024, 2048))
TINY = ArchitectureConfig.from_lists(*_TINY_WIDTHS, depths=(2, 2, 6, 2), num_heads=(1, 1, 4, 8))
SMALL = ArchitectureConfig.from_lists(*_TINY_WIDTHS, depths=(3, 4, 8, 4), num_heads=(1, 1, 4, 8))
PRESETS = {"tiny": TINY, "small": SMALL}
