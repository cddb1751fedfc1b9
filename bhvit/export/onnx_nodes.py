"""An ONNX graph under construction: nodes, constants and their names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

OPSET, IR_VERSION = 20, 9  # 20 has Gelu; both are read by ONNX Runtime from 1.17 on
Array = NDArray[Any]
Input = str | Tensor | Array | float | list[int]


class Nodes:
    """Nodes and constants of a graph; names of both begin with the scope in which they are made."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self._scope, self._counts = "", dict[str, int]()
        self._shared: dict[tuple[str, bytes], str] = {}

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Within the context names begin with `name`."""
        before, self._scope = self._scope, name
        yield
        self._scope = before

    def op(self, kind: str, *inputs: Input, output: str | None = None, **attributes: Any) -> str:
        """Append a node; the name of its output. Inputs that are no names become constants."""
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        name = output or self._new(kind)
        self.nodes.append(helper.make_node(kind, names, [name], name, **attributes))
        return name

    def constant(self, value: Input, name: str = "constant") -> str:
        """The name of a constant: float32, int64 from lists, int8 where an array is; equal numbers share one."""
        array = _as_stored(value)
        if array.size > 1 and name != "constant":
            return self._added(self._new(name), array)
        key = (f"{array.dtype}{array.shape}", array.tobytes())
        if key not in self._shared:
            self._shared[key] = self._added(self._new(name), array)
        return self._shared[key]

    def model(
        self, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto], name: str
    ) -> onnx.ModelProto:
        """The finished model."""
        stored = [numpy_helper.from_array(array, key) for key, array in self.constants.items()]
        graph = helper.make_graph(self.nodes, name, inputs, outputs, stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    def _added(self, name: str, array: Array) -> str:
        self.constants[name] = array
        return name

    def _new(self, kind: str) -> str:
        name = f"{self._scope}.{kind}" if self._scope else kind
        number = self._counts.get(name, 0)
        self._counts[name] = number + 1
        return f"{name}_{number}" if number else name


def float_info(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    """An input or output of float32; texts in `shape` are sizes that a call chooses."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _as_stored(value: Input) -> Array:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    array = np.asarray(value)
    if array.dtype == np.int8 or isinstance(value, list):
        return array
    return np.ascontiguousarray(array, np.float32)
