"""The model families that can be searched: one row each. Torch is loaded only when a model is built."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from bhvit.architecture import PRESETS, ArchitectureConfig
from bhvit.bhvit_terms import bhvit_terms
from bhvit.errors import unknown_name
from bhvit.layer_terms import TermsFunction


@dataclass(frozen=True)
class Family:
    """What the searcher needs to know of a model family.

    `config` is its frozen architecture type (`from_lists`, `scaled`, `addresses`), `layer_terms` the closed-form
    counts that `bhvit.cost` prices (see `bhvit.layer_terms`), and `builder` the `module:function` that makes the
    `torch.nn.Module` from (architecture, plan, norm, recu, drop_path_rate).
    """

    name: str
    config: type[ArchitectureConfig]
    presets: Mapping[str, ArchitectureConfig]
    layer_terms: TermsFunction
    builder: str

    def build_model(self, *args: Any, **kwargs: Any) -> Any:
        """The instantiated `torch.nn.Module`; arguments as of the family's builder. Imports torch."""
        module, function = self.builder.split(":")
        build: Callable[..., Any] = getattr(importlib.import_module(module), function)
        return build(*args, **kwargs)


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (Family("bhvit", ArchitectureConfig, PRESETS, bhvit_terms, "bhvit.model:build_model"),)
    }
)


def family_named(name: str) -> Family:
    """The row of `FAMILIES` with this name; raises `InvalidInput` with the legal names."""
    if name not in FAMILIES:
        raise unknown_name("family", name, FAMILIES)
    return FAMILIES[name]
