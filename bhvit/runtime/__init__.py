"""Packed models: their files, and running them (`load`). Nothing here imports torch."""

from bhvit.runtime.model import Model, load

__all__ = ["Model", "load"]
