"""The processes that train one model together, as each of them sees the others; torch's process group behind it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")
LOOPBACK = "lo"
PATIENCE = timedelta(days=7)  # a validation may be long; that a process died is noticed by the one that started it


@dataclass(frozen=True)
class Ranks:
    """This process is number `rank` (from 0) of `count`; with a count of 1 nothing is ever exchanged."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that validates, reports and writes files."""
        return self.rank == 0

    def agreed(self, value: T) -> T:
        """The first process's `value`, in all of them; also a barrier."""
        if self.count == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0)
        agreed: T = box[0]
        return agreed

    def mean(self, x: Tensor) -> Tensor:
        """Mean of `x` over the processes."""
        if self.count == 1:
            return x
        total = x.clone()
        dist.all_reduce(total)
        return total / self.count

    def averaging(self, model: nn.Module, device: torch.device) -> nn.Module:
        """`model`, whose gradients become means over the processes during the backward pass.

        To be made anew for every epoch: the wrapper reorders its sums after the first step, and a restart begins
        with a new wrapper, so that only thus both round alike.
        """
        if self.count == 1:
            return model
        devices = [device] if device.type == "cuda" else None
        return DistributedDataParallel(
            model, device_ids=devices, broadcast_buffers=False, init_sync=False, gradient_as_bucket_view=True
        )


ALONE = Ranks()


def join(rank: int, count: int, meeting: Path, device: torch.device) -> Ranks:
    """Enter torch's default process group (NCCL on CUDA, gloo else) of `count` processes that meet in a new file."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    elif Path(f"/sys/class/net/{LOOPBACK}").exists():
        os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK)  # gloo would look for the host's name
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{meeting}", rank=rank, world_size=count, timeout=PATIENCE)
    return Ranks(rank, count)
