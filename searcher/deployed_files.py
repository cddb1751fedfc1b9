"""What `searcher deploy` is asked for and what came of it: plain data, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from searcher.candidate import Candidate

FORMATS = {
    "onnx": "float32 ONNX",
    "onnx-int8": "ONNX with binary weights as INT8, and quantized to INT8 (QDQ)",
    "packed": "binary layers at one bit, for bhvit.runtime",
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
class Agreement:
    """How a file's logits of `images` images stand to PyTorch's in float64.

    `same` images have the same largest class, `equal` ones equal logits up to rounding; `median` and `largest` are of
    the images' largest deviations of a logit.
    """

    images: int
    same: int
    equal: int
    median: float
    largest: float


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


def steps_of(formats: tuple[str, ...]) -> int:
    """At most how many pieces of work `deploy` has."""
    return 1 + 2 * sum(2 if name == "onnx-int8" else 1 for name in formats)
