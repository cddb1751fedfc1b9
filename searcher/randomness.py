"""Randomness as a function of what it is for: no generator has a state that a restart would have to restore."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(*key: int | str) -> int:
    """A seed of 32 bits for the purpose `key`, such as (study seed, "qat", epoch, image index)."""
    text = "/".join(map(str, key))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")


def after_restarts(key: tuple[int | str, ...], restarts: int) -> tuple[int | str, ...]:
    """The key of a training's random numbers once it was begun again `restarts` times: other ones each time."""
    return (*key, "restarts", restarts) if restarts else key


def seed_everything(seed: int, device: torch.device | None = None) -> None:
    """Seed Python, NumPy and torch on the CPU and on `device`; timm's augmentations draw from all three."""
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed costs more: it visits every kind of device
    if device is not None and device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextmanager
def global_generators_restored() -> Iterator[None]:
    """Give the caller its global random states back, however often they are seeded inside."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
