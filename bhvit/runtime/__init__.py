"""Packed models: their files, and running them (`load`, which is loaded when it is asked for). No torch anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bhvit.runtime.model import Model, load

__all__ = ["Model", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bhvit.runtime import model  # `bhvit.families` asks for `bhvit.runtime.families` alone

    return getattr(model, name)
