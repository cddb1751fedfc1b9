"""The batch as a whole, where several processes train one model together and each holds an equal part of it.

Whatever depends on all images of a batch (statistics, initial values, random draws) goes through these functions, so
that N processes compute what one would. Outside `divided` there is one process, and they cost and change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

_rank, _ranks = 0, 1


@contextmanager
def divided(rank: int, ranks: int) -> Iterator[None]:
    """Within this context a batch is the part `rank` of `ranks`; for forward and backward passes of training.

    Needs torch's default process group where there are several ranks.
    """
    global _rank, _ranks
    before = _rank, _ranks
    _rank, _ranks = rank, ranks
    try:
        yield
    finally:
        _rank, _ranks = before


def parts() -> int:
    """The number of equal parts the batch is in: 1 where one process has all of it."""
    return _ranks


def part(size: int, rank: int, ranks: int) -> tuple[slice, ...]:
    """Where in a batch of `size` the images of `rank` are.

    Mixing pairs image i with image size - 1 - i. Where the size allows, a part is therefore a slice of the first half
    and its mirror image in the second, which pairs the same images within the part; else it is one slice.
    """
    length = size // ranks
    if size % (2 * ranks):
        return (slice(rank * length, (rank + 1) * length),)
    half = length // 2
    return slice(rank * half, (rank + 1) * half), slice(size - (rank + 1) * half, size - rank * half)


def draw(size: int, device: torch.device) -> Tensor:
    """Uniform random numbers (size) for a part of `size` images: those that one process would draw for them."""
    numbers = torch.rand(size * _ranks, device=device)
    if _ranks == 1:
        return numbers
    return torch.cat([numbers[where] for where in part(len(numbers), _rank, _ranks)])


@torch.no_grad()
def total(x: Tensor) -> Tensor:
    """Sum of `x` over the parts."""
    return x if _ranks == 1 else _reduced(x, dist.ReduceOp.SUM)


@torch.no_grad()
def mean(x: Tensor) -> Tensor:
    """Mean of `x` over the parts."""
    return x if _ranks == 1 else _reduced(x, dist.ReduceOp.SUM) / _ranks


@torch.no_grad()
def smallest(x: Tensor) -> Tensor:
    """Minimum of `x` over the parts."""
    return x if _ranks == 1 else _reduced(x, dist.ReduceOp.MIN)


@torch.no_grad()
def gathered(x: Tensor) -> Tensor:
    """`x` (...) of every part (parts, ...)."""
    if _ranks == 1:
        return x[None]
    each = [torch.empty_like(x) for _ in range(_ranks)]
    dist.all_gather(each, x.contiguous())
    return torch.stack(each)


def _reduced(x: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
    result = x.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(result, operation)
    return result
