"""A trained model as files for other programs: exported, checked against PyTorch, and only then put in place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bhvit.checkpoint import load_weights, round_to_stored_precision
from bhvit.errors import InvalidInput
from bhvit.export.agreement import Agreement
from bhvit.export.onnx import export_fp32, export_int8_weights, export_qdq, has_binary_layers
from bhvit.export.onnx_check import Logits, Reference, in_batches, onnx_logits, reference
from bhvit.export.packed import pack
from bhvit.family_model import FamilyModel
from bhvit.whole_files import write_with
from bhvit.wording import listed
from searcher import __version__
from searcher.candidate import Candidate
from searcher.candidate_training import build_candidate, evaluation_images
from searcher.datasets.listing import ImageList, Listing
from searcher.deployed_files import FILES, FORMATS, Deployed, Deployment, DeployOptions
from searcher.recipe import DataConfig, TrainingRecipe

CALIBRATION_BATCH = 8
NOISE_IMAGES = 8  # of the check, beside the real ones
Progress = Callable[[str, int, int, int], None]
Part = Callable[[int, int], None]


@dataclass(frozen=True)
class Source:
    """What is deployed: a candidate (the full-precision parent of one, where the weights are that), and its images."""

    candidate: Candidate
    recipe: TrainingRecipe
    data: DataConfig
    weights: Path


@dataclass(frozen=True)
class _Export:
    """How one file is made and run. Without `exact` it deviates on purpose, and that is only reported."""

    file: str
    about: str
    write: Callable[[Path], object]
    logits: Callable[[Path, Tensor, Part], Logits]
    exact: bool = True


def deploy(source: Source, options: DeployOptions, progress: Progress) -> Deployment:
    """Write the files that `options` ask for into their folder.

    None is put in place before all have been checked. `progress(what, step from 1, done, of)` is called for every piece
    of work, of which there are `steps_of`. Raises `InvalidInput` where a file exists that is another one, unless
    `options.overwrite`; where a file does not compute what PyTorch does; and for weights that are not the candidate's.
    """
    listing = source.data.list_images()
    listing.require_classes(source.candidate.architecture.num_classes)
    candidate, model = deployed_model(source)
    exports = _exports(model, listing, candidate, options)
    steps = _Steps(progress)
    with tempfile.TemporaryDirectory(prefix=".deploy-", dir=options.folder) as folder:
        staged = Path(folder)
        for export in exports:
            steps.begin(f"writing {export.file}")
            export.write(staged / export.file)
        states = {export.file: _state(staged / export.file, options) for export in exports}
        steps.begin("running PyTorch in float64")
        images, real = check_images(listing, candidate, options)
        judge = reference(model, images, steps.part)
        files = []
        for export in exports:
            steps.begin(f"checking {export.file}")
            agreement = _checked(export, staged / export.file, judge, real, steps.part)
            path = options.folder / export.file
            size = (staged / export.file).stat().st_size
            files.append(Deployed(path, export.about, size, states[export.file], export.exact, agreement))
        for file in files:
            if file.state != "unchanged":
                _put(staged / file.path.name, file.path)
    notes = (*_notes(source, candidate, model, options), *_left_there(options, {file.path.name for file in files}))
    return Deployment(candidate, tuple(files), judge.agreement(judge.float32), real, notes)


class _Steps:
    """Numbers the pieces of work."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._step, self._what = progress, 0, ""

    def begin(self, what: str) -> None:
        self._what, self._step = what, self._step + 1
        self.part(0, 1)

    def part(self, done: int, of: int) -> None:
        self._progress(self._what, self._step, done, of)


def deployed_model(source: Source) -> tuple[Candidate, FamilyModel]:
    """The model with its weights, fp16 layers rounded to half precision, and the candidate that it is.

    Weights that are those of the candidate's full-precision parent give the parent.
    """
    first: InvalidInput | None = None
    for candidate in (source.candidate, source.candidate.parent):
        model = build_candidate(candidate, source.recipe)
        try:
            load_weights(model, source.weights)
        except InvalidInput as error:
            first = first or error
            continue
        round_to_stored_precision(model)
        return candidate, model.eval()
    assert first is not None
    raise first


def check_images(listing: Listing, candidate: Candidate, options: DeployOptions) -> tuple[Tensor, int]:
    """Normalised images (n, 3, S, S), of the validation split and then of noise, and how many are real."""
    real = _drawn(listing.split("val"), options.images, options.seed)
    size = candidate.architecture.image_size
    noise = torch.randn(NOISE_IMAGES, 3, size, size, generator=torch.Generator().manual_seed(options.seed))
    return torch.cat((*_pixels(real, candidate), noise)), len(real)


def calibration_batches(
    listing: Listing, candidate: Candidate, options: DeployOptions
) -> Iterator[NDArray[np.float32]]:
    """Training images drawn by the seed, prepared as for evaluation, in batches."""
    images = _drawn(listing.split("train"), options.calibration, options.seed)
    for batch in _pixels(images, candidate):
        for start in range(0, len(batch), CALIBRATION_BATCH):
            yield batch[start : start + CALIBRATION_BATCH].numpy()


def packed_logits(path: Path, images: Tensor, progress: Part) -> Logits:
    """What our own runtime gives for the images."""
    from bhvit.runtime import load

    model = load(path)
    return in_batches(lambda x: model(x.numpy()), images, progress)


def _drawn(images: ImageList, count: int, seed: int) -> ImageList:
    """`count` of the images, or all, in an order that the seed decides."""
    chosen = np.random.Generator(np.random.PCG64(seed)).permutation(len(images))[:count]
    return ImageList(tuple(images.items[i] for i in chosen), tuple(images.labels[i] for i in chosen))


def _pixels(images: ImageList, candidate: Candidate) -> Iterator[Tensor]:
    prepared = evaluation_images(images, candidate.architecture.image_size, False)
    return (batch for batch, _ in prepared.batches(torch.device("cpu")))


def _exports(model: FamilyModel, listing: Listing, candidate: Candidate, options: DeployOptions) -> list[_Export]:
    names, metadata = listing.classes, {"searcher_version": __version__, "candidate": candidate.id}

    def qdq(path: Path) -> None:
        export_qdq(model, path, calibration_batches(listing, candidate, options), names, metadata)

    rows = {
        "onnx": [_Export("model.onnx", "float32", lambda p: export_fp32(model, p, names, metadata), onnx_logits)],
        "onnx-int8": [
            _Export(
                "model-int8-weights.onnx",
                "binary weights as INT8",
                lambda p: export_int8_weights(model, p, names, metadata),
                onnx_logits,
            ),
            _Export("model-qdq.onnx", "INT8 by calibration", qdq, onnx_logits, exact=False),
        ],
        "packed": [_Export("model.bhvit", "packed", lambda p: pack(model, p, names), packed_logits)],
    }
    found = [export for name in FORMATS if name in options.formats for export in rows[name]]
    return [e for e in found if has_binary_layers(model) or e.file != "model-int8-weights.onnx"]


def _notes(source: Source, candidate: Candidate, model: FamilyModel, options: DeployOptions) -> tuple[str, ...]:
    notes = []
    if candidate != source.candidate:
        notes.append("the weights are those of the full-precision parent, which is what was deployed")
    if "onnx-int8" in options.formats and not has_binary_layers(model):
        notes.append("no layer is binary, so there is no file with binary weights as INT8")
    return tuple(notes)


def _left_there(options: DeployOptions, written: set[str]) -> Iterator[str]:
    """What to know of deployed files that an earlier call left in the folder."""
    others = [name for names in FILES.values() for name in names if name not in written]
    there = [name for name in others if (options.folder / name).exists()]
    if there:
        lies = (
            "was there already and is left as it is; it" if len(there) == 1 else "were there already and are left; they"
        )
        yield f"{listed(there)} {lies} may be of another model"


def _state(staged: Path, options: DeployOptions) -> str:
    """Whether the file is new, replaces another one, which must be allowed, or is there already."""
    path = options.folder / staged.name
    if not path.exists():
        return "new"
    if not path.is_file():
        raise InvalidInput(f"{path} must be a file that can be replaced, but it is none; use another --out.")
    if path.stat().st_size == staged.stat().st_size and path.read_bytes() == staged.read_bytes():
        return "unchanged"
    if not options.overwrite:
        raise InvalidInput(
            f"{path} exists and is of another model or calibration, so nothing was written; use another --out, or "
            "--overwrite to replace it."
        )
    return "replaced"


def _checked(export: _Export, path: Path, judge: Reference, real: int, progress: Part) -> Agreement:
    """Run the file; raises `InvalidInput` where it does not compute what PyTorch does."""
    if not export.exact:
        judge = judge.first(real)  # ranges that were calibrated on images say nothing of noise
    logits = export.logits(path, judge.images, progress)
    problem = judge.problem(logits) if export.exact or not np.isfinite(logits).all() else None
    if problem is not None:
        raise InvalidInput(
            f"{export.file} must compute what PyTorch does, but {problem}; nothing was written. This is a mistake of "
            "ours or of the runtime: please report it with the study's space file."
        )
    return judge.agreement(logits)


def _put(staged: Path, path: Path) -> None:
    write_with(path, lambda temporary: _copied(staged, temporary))


def _copied(source: Path, path: Path) -> None:
    shutil.copyfile(source, path)
