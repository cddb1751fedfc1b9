"""Trained models as ONNX files: float32, with binary weights as INT8, and statically quantized to INT8.

All take `images` (batch, 3, S, S), float32 and normalised, to `logits` (batch, classes). The metadata of a file are the
fields of `bhvit.runtime.header.Header`, texts as they are and everything else as JSON: `classes`, `mean`, `std`, ....
What is computed is what is deployed: fp16 layers have their weights rounded to half precision, in a float32 graph;
int2, int4 and int8 layers round activations to levels and multiply these, in float32.
"""

from __future__ import annotations

import copy
import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import onnx
from numpy.typing import NDArray

from bhvit.checkpoint import round_to_stored_precision
from bhvit.errors import InvalidInput
from bhvit.export.constants import require_trained
from bhvit.export.onnx_graph import INPUT, onnx_graph
from bhvit.export.packed import header_of
from bhvit.family_model import FamilyModel
from bhvit.pyramid import Pyramid
from bhvit.runtime.families import packed_family_of
from bhvit.whole_files import write_with

PRODUCER = "bhvit-searcher"
MAX_BYTES = 2**31 - 2**20  # of a protobuf message, with room for all that is no weight
PRODUCTS = ["Conv", "Gemm", "MatMul"]


def export_fp32(
    model: FamilyModel, path: Path, class_names: Sequence[str] | None = None, metadata: Mapping[str, str] | None = None
) -> None:
    """Write what `model` computes in evaluation to the ONNX file `path`, whole or not at all, every weight in float32.

    `class_names` and the texts of `metadata` are stored with it. Raises `InvalidInput` for a model of a family that
    cannot be exported, whose quantizers never saw a training batch, whose numbers are not all finite, or which is too
    large for one file.
    """
    _write(_described(_exported(model), model, class_names, metadata), path)


def export_int8_weights(
    model: FamilyModel, path: Path, class_names: Sequence[str] | None = None, metadata: Mapping[str, str] | None = None
) -> None:
    """As `export_fp32`, with the weights of binary layers stored as INT8, 1 and -1, and a scale a channel.

    DequantizeLinear turns them into the same float32 in every run: a quarter of the file, no less work (van Loon's
    thesis, 2026). Raises `InvalidInput` for a model without binary layers, too.
    """
    if not has_binary_layers(model):
        raise InvalidInput(
            "INT8 storage of binary weights needs a model with binary layers, but this one has none; export it as fp32."
        )
    _write(_described(_exported(model, int8_weights=True), model, class_names, metadata), path)


def export_qdq(
    model: FamilyModel,
    path: Path,
    calibration: Iterable[NDArray[np.float32]],
    class_names: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the float graph, statically quantized to INT8 by ONNX Runtime, to `path`, whole or not at all.

    `calibration` are batches of images as the graph takes them, from whose smallest and largest values activations get
    their ranges: the same batches give the same file. Quantized are the products with weights (INT8, a scale a
    channel; activations UINT8), as QuantizeLinear and DequantizeLinear around them; all else stays float32, which is
    faster and more accurate than quantizing every node. Raises `InvalidInput` as `export_fp32` does.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Batches(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self._batches = iter(calibration)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT: batch}

    graph = _exported(model)
    stencils = [node.name for node in graph.graph.node if ".shifts." in node.name and node.op_type == "Conv"]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        quantized = Path(folder) / "quantized.onnx"
        quantize_static(
            graph,
            quantized,
            Batches(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=PRODUCTS,
            nodes_to_exclude=stencils,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,  # weights of 7 bits: sums of two products saturate on x86 without VNNI otherwise
            extra_options={"MatMulConstBOnly": True},
        )
        result = onnx.load(quantized)
    _write(_described(result, model, class_names, metadata), path)


def has_binary_layers(model: FamilyModel) -> bool:
    """Whether any layer stores signs."""
    return any(precision.weight_bits == 1 for precision in model.layers.values())


def _exported(model: FamilyModel, int8_weights: bool = False) -> onnx.ModelProto:
    packed_family_of(model.architecture)
    require_trained(model)
    deployed = copy.deepcopy(model).cpu().float().eval()
    round_to_stored_precision(deployed)
    size = 4 * sum(p.numel() for p in deployed.parameters())
    if size > MAX_BYTES:
        raise InvalidInput(
            f"an ONNX file holds at most 2 GiB, but the model's weights are {size / 2**30:.1f} GiB in float32; "
            "deploy it as a packed file."
        )
    for name, parameter in deployed.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise InvalidInput(f"every weight must be finite, but some of {name} are not; train the model again.")
    return onnx_graph(cast(Pyramid, deployed), int8_weights)


def _described(
    proto: onnx.ModelProto, model: FamilyModel, class_names: Sequence[str] | None, metadata: Mapping[str, str] | None
) -> onnx.ModelProto:
    """`proto` with the metadata of a file."""
    header = json.loads(header_of(model, class_names).to_json())
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in header.items()}
    proto.producer_name, proto.producer_version = PRODUCER, ""
    onnx.helper.set_model_props(proto, {**texts, **(metadata or {})})
    return proto


def _write(proto: onnx.ModelProto, path: Path) -> None:
    data = proto.SerializeToString(deterministic=True)
    write_with(path, lambda temporary: _write_bytes(temporary, data))


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


@contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime's quantizer advises on the root logger, also against what was decided here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
