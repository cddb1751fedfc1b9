"""An exported model, opened by its runtime: images in, logits out, whatever the kind of file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bhvit.errors import InvalidInput
from bhvit.runtime.header import IMAGENET_MEAN, IMAGENET_STD, INTERPOLATIONS
from searcher.benching.contestants import Contestant

CROP_PCT = 224 / 256
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class OpenModel:
    """A loaded model.

    `crop` is how it sees an image: the side S, the share of the resized shorter side that S is, the interpolation.
    `prepare` turns uint8 pixels (S, S, 3) into the input that it takes, `run` that input into logits (classes,).
    `classes` are None where the file has no names. `runtime` says what runs it, `instruction_set` with what;
    `outputs` is the number of its classes.
    """

    contestant: Contestant
    runtime: str
    crop: tuple[int, float, str]
    classes: tuple[str, ...] | None
    prepare: Callable[[Pixels], NDArray[Any]] = field(repr=False)
    run: Callable[[NDArray[Any]], NDArray[np.float32]] = field(repr=False)
    instruction_set: str | None = None
    outputs: int = 0

    @property
    def image_size(self) -> int:
        """S, the side of an image in pixels."""
        return self.crop[0]


def open_model(contestant: Contestant) -> OpenModel:
    """Load a file and run it once; raises `InvalidInput` where its runtime does not, or is not installed."""
    opened = (_open_packed if contestant.packed else _open_onnx)(contestant)
    size = opened.image_size
    try:
        logits = opened.run(opened.prepare(np.zeros((size, size, 3), np.uint8)))
    except Exception as error:  # whatever a foreign graph does wrong; onnxruntime's have no base of their own
        raise _foreign(contestant, str(error)) from error
    if np.ndim(logits) != 1 or (opened.classes is not None and len(opened.classes) != len(logits)):
        names = "no class names" if opened.classes is None else f"{len(opened.classes)} class names"
        raise _foreign(contestant, f"its output is {np.shape(logits)}, with {names}")
    return replace(opened, outputs=len(logits))


def _open_packed(contestant: Contestant) -> OpenModel:
    from bhvit import runtime

    model = runtime.load(contestant.path, contestant.threads, contestant.instruction_set)
    return OpenModel(
        contestant=contestant,
        runtime="bhvit",
        crop=(model.image_size, model.header.crop_pct, model.header.interpolation),
        classes=None if model.classes is None else tuple(model.classes),
        prepare=lambda pixels: pixels[None],
        run=lambda images: model(images)[0],
        instruction_set=model.instruction_set,
    )


def _open_onnx(contestant: Contestant) -> OpenModel:
    session = onnx_session(contestant)
    size = _image_size(contestant, session)
    metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
    try:
        classes = json.loads(metadata.get("classes", "null"))
        mean, std = (
            np.array(json.loads(metadata[key]) if key in metadata else usual, np.float32).reshape(3)
            for key, usual in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD))
        )
        crop_pct, interpolation = float(metadata.get("crop_pct", CROP_PCT)), metadata.get("interpolation", "bicubic")
        if interpolation not in INTERPOLATIONS or not 0.01 <= crop_pct <= 1:
            raise ValueError(f"crop_pct {crop_pct}, interpolation {interpolation}")
    except (ValueError, TypeError) as error:
        raise _foreign(contestant, f"its notes on classes and images are not `deploy`'s ({error})") from error

    def prepare(pixels: Pixels) -> NDArray[np.float32]:
        images = (pixels.astype(np.float32) / np.float32(255) - mean) / std
        return np.ascontiguousarray(images.transpose(2, 0, 1)[None])

    name = session.get_inputs()[0].name
    return OpenModel(
        contestant=contestant,
        runtime="onnxruntime",
        crop=(size, crop_pct, interpolation),
        classes=None if classes is None else tuple(classes),
        prepare=prepare,
        run=lambda images: session.run(None, {name: images})[0][0],
    )


def onnx_session(contestant: Contestant) -> Any:
    """An onnxruntime session on the CPU with pinned threads that do not spin while others run."""
    try:
        import onnxruntime
    except ImportError as error:
        raise InvalidInput("ONNX files need onnxruntime, which is absent; `pip install onnxruntime`.") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = contestant.threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4  # what goes wrong arrives as an exception
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(str(contestant.path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _foreign(contestant, str(error)) from error


def _image_size(contestant: Contestant, session: Any) -> int:
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else None
    if shape is None or inputs[0].type != "tensor(float)" or len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
        found = ", ".join(f"{i.type} {i.shape}" for i in inputs)
        raise _foreign(contestant, f"it takes {found}")
    if not isinstance(shape[2], int) or (isinstance(shape[0], int) and shape[0] != 1):
        raise _foreign(contestant, f"its images are {shape}")
    return shape[2]


def _foreign(contestant: Contestant, reason: str) -> InvalidInput:
    return InvalidInput(
        f"{contestant.path} must be an image classifier that takes one float image (1, 3, S, S) or is packed, but "
        f"{' '.join(reason.split())[:300]}; write it with `searcher deploy`."
    )
