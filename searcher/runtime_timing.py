"""Times of the packed runtime on this machine, layer by layer, of models that are written only for that."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bhvit import runtime
from bhvit.families import DEFAULT_FAMILY, FAMILIES
from bhvit.precision import Precision, PrecisionPlan
from bhvit.runtime import packed_file
from bhvit.runtime.schema import Header, random_arrays
from bhvit.staged import Architecture

LEAST_RUNS, MOST_RUNS, QUARTILE = 5, 25, 0.25
LEAST_SECONDS = 0.15  # of runs of a model, beyond which it is run no more than LEAST_RUNS times


class LayerTimes:
    """Measures candidates; a layer takes the lower quartile of several runs, so that other programs disturb little.

    `others` is the share of the time so far in which other programs had the core, 0 where that cannot be told.
    """

    def __init__(self, threads: int = 1, instruction_set: str | None = None) -> None:
        self.threads, self.instruction_set = threads, instruction_set
        self._wall = self._cpu = 0.0

    def __call__(self, architecture: Architecture, layers: Mapping[str, Precision]) -> dict[str, float]:
        image = random_image(architecture)
        with model_of(architecture, layers, self.threads, self.instruction_set) as model:
            model(image)
            runs, start, cpu = list[Mapping[str, float]](), time.perf_counter(), time.thread_time()
            while len(runs) < LEAST_RUNS or (len(runs) < MOST_RUNS and time.perf_counter() - start < LEAST_SECONDS):
                runs.append(model.profile(image))
            self._wall += time.perf_counter() - start
            self._cpu += time.thread_time() - cpu
        return {address: float(np.quantile([run[address] for run in runs], QUARTILE)) for address in runs[0]}

    @property
    def others(self) -> float:
        """See the class."""
        return max(0.0, 1 - self._cpu / self._wall) if self.threads == 1 and self._wall else 0.0


@contextmanager
def model_of(
    architecture: Architecture, layers: Mapping[str, Precision], threads: int, instruction_set: str | None
) -> Iterator[runtime.Model]:
    """A model with random weights, loaded from a file that is removed afterwards."""
    header = Header(architecture, tuple(layers.values()))  # type: ignore[arg-type]  # of a family with a packed form
    with tempfile.TemporaryDirectory(prefix="bhvit-timing-") as folder:
        path = Path(folder) / "model.bhvit"
        packed_file.write(path, header, random_arrays(header))
        yield runtime.load(path, threads=threads, instruction_set=instruction_set)


def random_image(architecture: Architecture) -> NDArray[np.uint8]:
    """One image of noise, 1 x S x S x 3."""
    side = architecture.image_size
    return np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)


def resolved_instruction_set(asked: str | None) -> str:
    """The instruction set that the runtime uses where `asked` is asked for (None: its own choice).

    Raises `InvalidInput` where this machine or this build lacks it.
    """
    preset = next(iter(FAMILIES[DEFAULT_FAMILY].presets.values()))
    smallest = preset.scaled(1 / 64, 1 / 512).with_options(image_size=32)
    layers = PrecisionPlan.uniform("binary").resolve(smallest.addresses)
    with model_of(smallest, layers, 1, asked) as model:
        return model.instruction_set


def machine_name() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
