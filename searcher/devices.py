"""Where models are trained: choosing the device, its number format, and naming what happens when its memory is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bhvit.errors import InvalidInput
from searcher.benching.peak_memory import peak_of_this_process
from searcher.outcomes import OutOfMemory

MIB = 2**20
MEMORY_SIGNS = ("not enough memory", "can't allocate memory", "out of memory", "status_alloc_failed")


def device_named(name: str) -> torch.device:
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`; raises `InvalidInput` for an absent device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidInput(f"device must be auto, cpu, cuda or cuda:N, but it is {name!r}.") from error
    if device.type not in ("cpu", "cuda"):
        raise InvalidInput(f"device must be auto, cpu, cuda or cuda:N, but it is {name!r}.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InvalidInput(
            f"device {name!r} must exist, but this machine has {torch.cuda.device_count()} CUDA devices; use cpu."
        )
    return device


def device_of_rank(name: str, rank: int, count: int) -> torch.device:
    """The device of process `rank` of `count` that train together: a GPU each, or the CPU for all.

    Raises `InvalidInput` where one GPU is named for several processes, or where there are fewer than processes.
    """
    device = device_named(name)
    if count == 1 or device.type == "cpu":
        return device
    if device.index is not None:
        raise InvalidInput(
            f"device must be auto, cuda or cpu with several processes, each of which takes a GPU, but it is {name!r} "
            f"with processes {count}; use cuda."
        )
    if count > torch.cuda.device_count():
        raise InvalidInput(
            f"processes must be at most the number of GPUs, but they are {count} and {torch.cuda.device_count()}; use "
            f"processes: {torch.cuda.device_count()}, or device cpu."
        )
    return torch.device("cuda", rank)


def mixed_precision(device: torch.device, amp: str) -> torch.autocast:
    """Context of a forward pass: bfloat16 autocast on CUDA unless `amp` is `off`; on the CPU float32 always."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=amp == "auto" and device.type == "cuda")


@contextmanager
def memory_exhaustion_named(device: torch.device, doing: str) -> Iterator[None]:
    """Turn every way in which torch or Python report full memory into `OutOfMemory` with the peak use.

    That is what torch's allocator gave out at once within the context on CUDA, and what the process ever held in
    memory at once on the CPU; the piece that was refused is not counted.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory(device, doing) from error
    except RuntimeError as error:
        if not _is_about_memory(str(error)):
            raise
        raise _out_of_memory(device, doing) from error


def peak_bytes(device: torch.device) -> float:
    """The most memory held at once: allocated on `device` since `memory_exhaustion_named` began, or on the CPU ever."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return float(peak_of_this_process())


def _is_about_memory(message: str) -> bool:
    text = message.lower()
    return any(sign in text for sign in MEMORY_SIGNS)


def _out_of_memory(device: torch.device, doing: str) -> OutOfMemory:
    peak = peak_bytes(device)
    return OutOfMemory(
        f"{device} ran out of memory while {doing}, with a peak of {peak / MIB:.0f} MiB; use a smaller batch_size or "
        "width.",
        peak,
    )
