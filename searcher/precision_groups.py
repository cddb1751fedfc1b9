"""A precision plan in the fewest groups of layers: for people to read, and for space files; no torch, no rich."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bhvit.precision import Precision


@dataclass(frozen=True)
class Group:
    """Layers of one precision: `name` in words (`downsample`, `stage2.attention`), `glob` over their addresses."""

    name: str
    glob: str
    precision: Precision


def grouped(layers: Mapping[str, Precision]) -> tuple[Precision, tuple[Group, ...]]:
    """The commonest precision, and the largest uniform groups of what differs from it, in the order of the layers.

    A group is all layers of a kind (the last part of an address, `downsample*` is one kind), those of a kind in a
    stage, or a single layer. The globs of different groups never match the same layer.
    """
    counts = Counter(layers.values())
    default = max(counts, key=lambda p: (counts[p], -p.weight_bits))
    kinds: dict[str, dict[str, Precision]] = {}
    for address, precision in layers.items():
        kinds.setdefault(_kind(address), {})[address] = precision
    return default, tuple(group for kind, members in kinds.items() for group in _groups(kind, members, default))


def _kind(address: str) -> str:
    return address.rsplit(".", 1)[1] if "." in address else address.rstrip("0123456789")


def _groups(kind: str, members: Mapping[str, Precision], default: Precision) -> Iterator[Group]:
    within_blocks = any("." in address for address in members)
    found = set(members.values())
    if len(found) == 1:
        only = found.pop()
        if only != default:
            yield Group(kind, f"*.{kind}" if within_blocks else f"{kind}*", only)
        return
    stages: dict[str, dict[str, Precision]] = {}
    for address, precision in members.items():
        stages.setdefault(address.split(".", 1)[0], {})[address] = precision
    for stage, blocks in stages.items():
        precisions = set(blocks.values())
        if len(precisions) > 1:
            yield from (Group(address, address, p) for address, p in blocks.items() if p != default)
        elif default not in precisions:
            name, glob = (f"{stage}.{kind}", f"{stage}.*.{kind}") if within_blocks else (stage, stage)
            yield Group(name, glob, precisions.pop())
