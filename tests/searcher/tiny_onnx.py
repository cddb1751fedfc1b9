"""Tiny classifiers as ONNX files: which of red, green and blue an image is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}
SIDE = 32


def write_classifier(
    path: Path, classes: tuple[str, ...] | None = ("red", "green", "blue"), *, padding: int = 0, quantized: bool = False
) -> Path:
    """Logits are the mean of each channel, so outputs are red, green, blue.

    `padding` adds so many floats that are used for nothing but their sum; `quantized` stores them as int8 with a scale.
    """
    nodes = [helper.make_node("ReduceMean", ["images", "axes"], ["means"], keepdims=0)]
    tensors = [numpy_helper.from_array(np.array([2, 3]), "axes")]
    last = "means"
    if quantized:
        tensors += [numpy_helper.from_array(np.ones(3, np.int8), "w"), numpy_helper.from_array(np.float32(1), "scale")]
        nodes += [helper.make_node("DequantizeLinear", ["w", "scale"], ["ones"])]
        nodes += [helper.make_node("Mul", ["means", "ones"], ["scaled"])]
        last = "scaled"
    tensors += [numpy_helper.from_array(np.zeros((max(padding, 1), 1, 1), np.float32), "padding")]
    tensors += [numpy_helper.from_array(np.array([0]), "first")]
    nodes += [helper.make_node("ReduceMean", ["padding", "first"], ["zero"], keepdims=0)]
    nodes += [helper.make_node("Add", [last, "zero"], ["logits"])]
    graph = helper.make_graph(
        nodes,
        "colour",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if classes is not None:
        helper.set_model_props(model, {"classes": json.dumps(classes), "mean": "[0, 0, 0]", "std": "[1, 1, 1]"})
    onnx.save(model, path)
    return path


def write_images(folder: Path, each: int = 2) -> Path:
    """folder/<colour>/<n>.png, of any size and shape."""
    random = np.random.default_rng(0)
    for colour, rgb in COLOURS.items():
        (folder / colour).mkdir(parents=True)
        for n in range(each):
            width, height = random.integers(20, 90, 2)
            Image.new("RGB", (int(width), int(height)), rgb).save(folder / colour / f"{n}.png")
    return folder
