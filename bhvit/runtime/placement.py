"""Where the tensors of a packed file are: five sections of one kind of item, the first of each at a multiple of 64."""

from __future__ import annotations

from dataclasses import dataclass

from bhvit.runtime.header import Header
from bhvit.runtime.layouts import in_kernel_layout, stored_bytes
from bhvit.runtime.schema import ITEMS, Tensor, tensors_of

ALIGNMENT = 64


@dataclass(frozen=True)
class Section:
    """Bytes `start` to `stop` of a file: all tensors of one item, each at its offset in the file."""

    item: str
    start: int
    stop: int
    tensors: tuple[tuple[Tensor, int], ...]


def sections_of(header: Header, after: int) -> tuple[Section, ...]:
    """The sections that are not empty, in file order, for a header that ends at byte `after`.

    In a section the tensors in kernel layout come first, which keeps them aligned, then the others, both in forward
    order and without gaps. The last section ends the file.
    """
    tensors = tensors_of(header)
    sections: list[Section] = []
    end = after
    for item in ITEMS:
        members = sorted((t for t in tensors if t.item == item), key=lambda t: not in_kernel_layout(t))
        if members:
            start = end = aligned(end)
            placed = []
            for tensor in members:
                placed.append((tensor, end))
                end += stored_bytes(tensor)
            sections.append(Section(item, start, end, tuple(placed)))
    return tuple(sections)


def aligned(offset: int) -> int:
    """The first multiple of 64 from `offset` on."""
    return -(-offset // ALIGNMENT) * ALIGNMENT
