"""What `searcher deploy` is asked for and what came of it: plain data, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bhvit.export.agreement import Agreement
from searcher.candidate import Candidate

FORMATS = {
    "onnx": "float32 ONNX",
    "onnx-int8": "ONNX with binary weights as INT8, and quantized to INT8 (QDQ)",
    "packed": "binary layers at one bit, for bhvit.runtime",
}
FILES = {
    "onnx": ("model.onnx",),
    "onnx-int8": ("model-int8-weights.onnx", "model-qdq.onnx"),
    "packed": ("model.bhvit",),
}
CALIBRATION, CHECKED = 64, 32  # images


@dataclass(frozen=True)
class DeployOptions:
    """Where to, in which of `FORMATS`, and with how many images: training images that calibrate, others that check."""

    folder: Path
    formats: tuple[str, ...]
    calibration: int = CALIBRATION
    images: int = CHECKED
    seed: int = 0
    overwrite: bool = False


@dataclass(frozen=True)
class Deployed:
    """A file that was written (`state` new or replaced) or was there already (unchanged).

    `exact` says whether it computes what PyTorch does, which was checked, or deviates on purpose.
    """

    path: Path
    about: str
    size: int
    state: str
    exact: bool
    agreement: Agreement


@dataclass(frozen=True)
class Deployment:
    """The files of a model, and how PyTorch's own float32 stands to float64; `real` of the images are no noise."""

    candidate: Candidate
    files: tuple[Deployed, ...]
    float32: Agreement
    real: int
    notes: tuple[str, ...] = ()

    @property
    def packed(self) -> Deployed | None:
        """The packed file, where there is one."""
        return next((file for file in self.files if file.path.name in FILES["packed"]), None)

    @property
    def complete_bytes(self) -> float:
        """What the model weighs by its complete cost."""
        return self.candidate.cost("complete").total.complete_bytes

    @property
    def packed_excess(self) -> float | None:
        """By which share the packed file is larger than the complete cost; None without one."""
        return None if self.packed is None else self.packed.size / self.complete_bytes - 1


def steps_of(formats: tuple[str, ...]) -> int:
    """At most how many pieces of work `deploy` has."""
    return 1 + 2 * sum(len(FILES[name]) for name in formats)
