"""Accumulators of the packed runtime against OpenVINO's BinaryConvolution, another implementation by other people.

Random shapes of the kinds that BHViT has: linear layers, 2 x 2 convolutions of stride 2, and zero padded 3 x 3
convolutions at dilations 1, 3, 5 in groups (OpenVINO has no groups: it runs each by itself). Channels are multiples of
8: for others OpenVINO 2026.4 gives sums that a plain count contradicts; tests/bhvit/runtime/test_products.py compares
any number of channels with such a count. Needs no torch, and an environment of its own, as OpenVINO takes 180 MB:

  python -m venv /tmp/ov && /tmp/ov/bin/pip install openvino numpy
  PYTHONPATH=. /tmp/ov/bin/python benchmarks/openvino_crosscheck.py

Ends with one JSON line; exit code 1 where any sum differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bhvit.runtime import native
from bhvit.runtime.layouts import to_kernel, to_stored
from bhvit.runtime.network import Kind, Product
from bhvit.runtime.numpy_products import accumulators
from bhvit.runtime.schema import Tensor


class Case(NamedTuple):
    """A convolution of a map (side, side, groups * channels)."""

    kernel: int
    stride: int
    dilation: int
    groups: int
    columns: int
    channels: int
    side: int

    @property
    def padding(self) -> int:
        """The same side comes out of 3 x 3 convolutions; the others are not padded."""
        return self.dilation if self.kernel == 3 else 0


def drawn(random: np.random.Generator) -> Case:
    columns, channels = int(random.integers(1, 200)), 8 * int(random.integers(1, 25))
    side = int(random.integers(1, 15))
    match random.integers(3):
        case 0:
            return Case(1, 1, 1, 1, columns, channels, side)
        case 1:
            return Case(2, 2, 1, 1, columns, channels, 2 * side)
        case _:
            return Case(3, 1, int(random.choice([1, 3, 5])), 4, columns, channels, side)


def openvino_sums(c: Case, signs: NDArray[np.bool_], weights: NDArray[np.int8]) -> NDArray[Any]:
    """Sums (tokens, groups * columns) of `signs` (side, side, groups * channels) and natural `weights`."""
    groups = np.split(signs, c.groups, axis=2)
    return np.concatenate([_of_group(c, part, w) for part, w in zip(groups, weights, strict=True)], axis=1)


def _of_group(c: Case, signs: NDArray[np.bool_], weights: NDArray[np.int8]) -> NDArray[Any]:
    import openvino
    from openvino import opset1

    kernels = weights.reshape(c.columns, c.kernel, c.kernel, c.channels).transpose(0, 3, 1, 2)
    bits = np.packbits(kernels > 0, bitorder="little")
    constant = openvino.op.Constant(openvino.Tensor(bits, openvino.Shape(kernels.shape), openvino.Type.u1))
    # OpenVINO refuses to pad at dilation 5. The mean over a border of ones and of minus ones is that over zeros.
    images = [np.pad(signs.transpose(2, 0, 1), ((0, 0), *((c.padding,) * 2,) * 2), constant_values=v) for v in (0, 1)]
    data = opset1.parameter([1, *images[0].shape], np.float32)
    convolution = opset1.binary_convolution(
        data, constant, [c.stride] * 2, [0, 0], [0, 0], [c.dilation] * 2, "xnor-popcount", 0.0
    )
    model = openvino.compile_model(openvino.Model([convolution], [data]), "CPU")
    sums = np.mean([model(image[None].astype(np.float32))[0] for image in images], axis=0)
    return sums.reshape(c.columns, -1).T


def rows_of(c: Case, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Inputs (tokens, taps, channels) of a map, and which taps (tokens, taps) are no padding."""
    padded = np.pad(x, ((c.padding,) * 2, (c.padding,) * 2, (0, 0)))
    inside = np.pad(np.ones(x.shape[:2], bool), c.padding)
    reach = (c.kernel - 1) * c.dilation
    at = range(0, padded.shape[0] - reach, c.stride)
    steps = range(0, reach + 1, c.dilation)
    corners = [(i, j) for i in at for j in at]
    taps = [(a, b) for a in steps for b in steps]
    rows = np.array([[padded[i + a, j + b] for a, b in taps] for i, j in corners], np.float32)
    valid = np.array([[inside[i + a, j + b] for a, b in taps] for i, j in corners])
    return rows, valid


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100, help="shapes to draw (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the shapes and values (default: %(default)s)")
    options = parser.parse_args()
    path = native.library_path()
    library = native.load_library(path) if path else None
    compiled = native.instruction_sets(library) if library else []
    random = np.random.default_rng(options.seed)
    different = dict.fromkeys(["numpy", *compiled], 0)
    sums = 0
    for _ in range(options.cases):
        c = drawn(random)
        x = random.standard_normal((c.side, c.side, c.groups * c.channels)).astype(np.float32)
        shape = (c.groups, c.columns, c.kernel**2, c.channels)
        weights = random.choice(np.array([-1, 1], np.int8), shape)
        tensor = Tensor("weight", "bits", shape)
        packed = to_kernel(tensor, to_stored(tensor, weights))
        product = Product(Kind.binary, c.groups, c.columns, c.kernel**2, c.channels, 1, packed, None, None, None)
        expected = openvino_sums(c, x >= 0, weights)
        rows, valid = rows_of(c, x)
        sums += expected.size
        for name in different:
            if name == "numpy":
                found = accumulators(product, rows, valid)
            else:
                assert library is not None
                found = native.accumulate(library, product, name, rows, valid)
            different[name] += int((found != expected).sum())
    for name, count in different.items():
        print(f"{name:8} {count} of {sums} sums differ from OpenVINO's ({options.cases} shapes)")
    print(
        json.dumps({"benchmark": "openvino_crosscheck", "cases": options.cases, "sums": sums, "different": different})
    )
    return int(any(different.values()))


if __name__ == "__main__":
    sys.exit(main())
