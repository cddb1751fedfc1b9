"""Maps to windows and back."""

from __future__ import annotations

from torch import Tensor


def split_windows(x: Tensor, window: int) -> Tensor:
    """Windows (B, n, g^2, C) of a map `x` (B, r, r, C), row by row; n = (r / g)^2."""
    split = x.unflatten(2, (-1, window)).unflatten(1, (-1, window)).transpose(2, 3)
    return split.flatten(3, 4).flatten(1, 2)


def join_windows(x: Tensor, window: int) -> Tensor:
    """The map (B, r, r, C) of windows `x` (B, n, g^2, C): the inverse of `split_windows`."""
    rows = round(x.shape[1] ** 0.5)
    split = x.unflatten(2, (window, window)).unflatten(1, (rows, rows)).transpose(2, 3)
    return split.flatten(3, 4).flatten(1, 2)
