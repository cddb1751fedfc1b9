"""The model families: one row each. Torch is loaded only when a model is built."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from bhvit.architecture import PRESETS, ArchitectureConfig
from bhvit.bhvit_terms import bhvit_terms
from bhvit.bhvit_work import bhvit_work
from bhvit.binaryvit.architecture import PRESETS as BINARYVIT_PRESETS
from bhvit.binaryvit.architecture import BinaryViTConfig
from bhvit.binaryvit.terms import binaryvit_terms
from bhvit.binaryvit.work import binaryvit_work
from bhvit.cost import CostReport, price_layers
from bhvit.deit.architecture import PRESETS as DEIT_PRESETS
from bhvit.deit.architecture import DeiTConfig
from bhvit.deit.terms import deit_terms
from bhvit.errors import InvalidInput, unknown_name
from bhvit.latency import DeviceProfile, SecondsOf, layer_seconds
from bhvit.layer_terms import TermsFunction
from bhvit.layer_work import WorkFunction
from bhvit.precision import PrecisionPlan
from bhvit.reactnet.architecture import PRESETS as REACTNET_PRESETS
from bhvit.reactnet.architecture import ReActNetConfig
from bhvit.reactnet.terms import reactnet_terms
from bhvit.runtime.families import PACKED_FAMILIES, PACKED_TITLES
from bhvit.staged import Architecture
from bhvit.wording import listed


@dataclass(frozen=True)
class Family:
    """What the product needs to know of a model family.

    `config` is its frozen architecture type, `layer_terms` the closed-form counts that `bhvit.cost` prices (see
    `bhvit.layer_terms`), `builder` the `module:class` of its `bhvit.family_model.FamilyModel`, made from
    (architecture, plan, norm, recu, drop_path_rate), and `work` what the packed runtime does in its layers (see
    `bhvit.layer_work`), where it runs the family.
    """

    name: str
    config: type[Architecture]
    presets: Mapping[str, Architecture]
    layer_terms: TermsFunction
    builder: str
    work: WorkFunction | None = None

    @property
    def deployable(self) -> bool:
        """Whether the packed runtime and the ONNX exports know the family."""
        return self.name in PACKED_FAMILIES

    def preset(self, name: str) -> Architecture:
        """The preset with this name; raises `InvalidInput` with the family's own, and the families that have it."""
        if name in self.presets:
            return self.presets[name]
        owners = [other.name for other in FAMILIES.values() if name in other.presets]
        if not owners:
            raise unknown_name(f"{self.name} preset", name, self.presets)
        raise InvalidInput(
            f"preset {name!r} is one of {listed(owners)}, but the family is {self.name}; name another family, or use "
            f"{listed(self.presets, 'or')}."
        )

    def seconds_of(self, shape: Any, profile: DeviceProfile) -> SecondsOf:
        """Predicted seconds of the layers of an architecture, or of a grid of widths over one.

        Raises `InvalidInput` for a family that the packed runtime does not run.
        """
        return layer_seconds(shape, profile, self.work_of_runtime("this one", "leave the device out"))

    def work_of_runtime(self, whose: str, remedy: str) -> WorkFunction:
        """`work`; raises `InvalidInput` where there is none, naming `whose` latency was asked for and the `remedy`."""
        if self.work is None:
            raise InvalidInput(
                f"latencies are predicted for models that the packed runtime runs, those of {PACKED_TITLES}, but "
                f"{whose} is a {self.config.title}; {remedy}."
            )
        return self.work

    def build_model(self, *args: Any, **kwargs: Any) -> Any:
        """The instantiated `torch.nn.Module`; arguments as of the family's class. Imports torch."""
        module, name = self.builder.split(":")
        return getattr(importlib.import_module(module), name)(*args, **kwargs)


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            Family(
                name="bhvit",
                config=ArchitectureConfig,
                presets=PRESETS,
                layer_terms=bhvit_terms,
                builder="bhvit.model:BHViT",
                work=bhvit_work,
            ),
            Family(
                name="binaryvit",
                config=BinaryViTConfig,
                presets=BINARYVIT_PRESETS,
                layer_terms=binaryvit_terms,
                builder="bhvit.binaryvit.model:BinaryViT",
                work=binaryvit_work,
            ),
            Family(
                name="deit",
                config=DeiTConfig,
                presets=DEIT_PRESETS,
                layer_terms=deit_terms,
                builder="bhvit.deit.model:DeiT",
            ),
            Family(
                name="reactnet",
                config=ReActNetConfig,
                presets=REACTNET_PRESETS,
                layer_terms=reactnet_terms,
                builder="bhvit.reactnet.model:ReActNet",
            ),
        )
    }
)


DEFAULT_FAMILY = next(iter(FAMILIES))  # where a space file or a command names none


def family_named(name: str) -> Family:
    """The row of `FAMILIES` with this name; raises `InvalidInput` with the legal names."""
    if name not in FAMILIES:
        raise unknown_name("family", name, FAMILIES)
    return FAMILIES[name]


def unknown_option(
    family: Family, name: object, kind: str, known: Iterable[str], names: Mapping[str, str]
) -> InvalidInput:
    """Error for an option that configurations of `family` lack: says which families have it, or what is `known`.

    `names` are those that users write, of fields that they write otherwise.
    """
    owners = []
    for other in FAMILIES.values():
        own = [field.name for field in fields(other.config)]  # type: ignore[arg-type]  # of the dataclass
        if name in [names.get(field, field) for field in own]:
            owners.append(other.name)
    hint = f" (an option of {listed(owners)}, but this is a {family.name})" if owners else ""
    return unknown_name(kind, name, known, hint)


def family_of(architecture: Architecture) -> Family:
    """The family that an architecture is of."""
    return next(family for family in FAMILIES.values() if type(architecture) is family.config)


def cost_of(
    architecture: Architecture, plan: PrecisionPlan, accounting: str = "reported", norm: str | None = None
) -> CostReport:
    """Cost of an architecture of any family under a precision plan, per layer and in total.

    `accounting` is `reported` (the literature's: MACs and packed weights alone) or `complete` (everything that a
    device stores and computes); `norm`, `batch` or `layer` (none: the family's default), decides whether weight scales
    are stored.
    OPs = FP MACs + binary MACs / 64, generalised by `Precision.ops_per_mac`.
    Raises `InvalidInput` for an unknown accounting or norm and for plans that do not fit the architecture.
    """
    terms = family_of(architecture).layer_terms
    return price_layers(architecture, architecture.layers_of(plan), terms, accounting, norm or architecture.norms[0])
