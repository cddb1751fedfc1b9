"""How many trials fit on a machine: what each of them takes, against what the machine has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bhvit.errors import InvalidInput
from bhvit.wording import listed, plural

ROUNDING = 1e-6  # 3 trials of 1/3 GPU fit on one GPU, whatever the third digit


@dataclass(frozen=True)
class Placement:
    """What a trial takes of a machine: CPU cores, and GPUs or a fraction of one (never parts of several)."""

    cpus: float
    gpus: float

    def __post_init__(self) -> None:
        if self.cpus < 0 or self.gpus < 0 or self.cpus + self.gpus == 0:
            raise InvalidInput(
                f"a trial must take a positive part of a machine, but it takes {self}; use --gpus-per-trial 1, or 0 to "
                "train on CPUs."
            )
        if self.gpus > 1 and self.gpus % 1:
            raise InvalidInput(
                f"GPUs of a trial must be a fraction of one or a whole number, but they are {self.gpus:g}; use "
                f"--gpus-per-trial {math.ceil(self.gpus)}."
            )

    def __str__(self) -> str:
        return resources_text({"CPU": self.cpus, "GPU": self.gpus})

    def fits(self, machine: Mapping[str, float]) -> int:
        """How many trials an empty machine with so many `CPU` and `GPU` takes."""
        rooms = []
        if self.cpus:
            rooms.append(math.floor(machine.get("CPU", 0) / self.cpus + ROUNDING))
        if self.gpus >= 1:
            rooms.append(int(machine.get("GPU", 0) // self.gpus))
        elif self.gpus:
            rooms.append(int(machine.get("GPU", 0)) * math.floor(1 / self.gpus + ROUNDING))
        return min(rooms)


def resources_text(machine: Mapping[str, float]) -> str:
    """CPUs and GPUs in words."""
    counts = [(machine.get(kind, 0), kind) for kind in ("CPU", "GPU")]
    return listed(f"{count:g} {plural(kind, count)}" for count, kind in counts)
