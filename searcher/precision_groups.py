"""A precision plan in the fewest groups of layers: for people to read, and for space files; no torch, no rich."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from bhvit.precision import Precision

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Group(Generic[T]):
    """Layers of one precision: `name` in words (`downsample`, `stage2.attention`), `glob` over their addresses."""

    name: str
    glob: str
    precision: T


def grouped(layers: Mapping[str, Precision]) -> tuple[Precision, tuple[Group[Precision], ...]]:
    """The commonest precision, and the largest uniform groups of what differs from it, in the order of the layers."""
    counts = Counter(layers.values())
    default = min(counts, key=lambda p: (-counts[p], p.bits))
    return default, tuple(group for group in uniform_groups(layers) if group.precision != default)


def uniform_groups(layers: Mapping[str, T]) -> Iterator[Group[T]]:
    """All layers in the largest groups that are uniform; in place of a precision each may have any other value.

    A group is all layers of a kind (the last part of an address, `downsample*` is one kind), those of a kind in a
    stage, or a single layer. The globs of different groups never match the same layer.
    """
    kinds: dict[str, dict[str, T]] = {}
    for address, value in layers.items():
        kinds.setdefault(_kind(address), {})[address] = value
    for kind, members in kinds.items():
        yield from _groups(kind, members)


def _kind(address: str) -> str:
    return address.rsplit(".", 1)[1] if "." in address else address.rstrip("0123456789")


def _groups(kind: str, members: Mapping[str, T]) -> Iterator[Group[T]]:
    within_blocks = any("." in address for address in members)
    if len(set(members.values())) == 1:
        yield Group(kind, f"*.{kind}" if within_blocks else f"{kind}*", next(iter(members.values())))
        return
    stages: dict[str, dict[str, T]] = {}
    for address, value in members.items():
        stages.setdefault(address.split(".", 1)[0], {})[address] = value
    for stage, blocks in stages.items():
        if len(set(blocks.values())) > 1:
            yield from (Group(address, address, value) for address, value in blocks.items())
        else:
            name, glob = (f"{stage}.{kind}", f"{stage}.*.{kind}") if within_blocks else (stage, stage)
            yield Group(name, glob, next(iter(blocks.values())))
