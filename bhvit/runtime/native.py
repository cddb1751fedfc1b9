"""The compiled core: its structs mirrored with ctypes, and filled with pointers into a network's arrays."""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, Structure, c_char_p, c_double, c_float, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bhvit.errors import InvalidInput
from bhvit.runtime.network import Floats, Network, Product

ABI = 4  # BHVIT_ABI of native/core.h
ALIGNMENT = 64  # of the workspace, in bytes
LIBRARY_VARIABLE = "BHVIT_RUNTIME_LIBRARY"
BUILT_LIBRARY = Path(__file__).with_name("_core.so")


class _Product(Structure):
    _fields_ = (
        *((name, c_int32) for name in ("kind", "groups", "columns", "taps", "channels")),
        ("step", c_float),
        *((name, c_void_p) for name in ("weight", "scale", "bias", "shift")),
    )


class _Norm(Structure):
    _fields_ = (("layer", c_int32), ("scale", c_void_p), ("shift", c_void_p))


class _RPReLU(Structure):
    _fields_ = (("shift_in", c_void_p), ("slope", c_void_p), ("shift_out", c_void_p))


class _Scale(Structure):
    _fields_ = (("alpha", c_void_p), ("shift", c_void_p))


class _Residual(Structure):
    _fields_ = (("product", _Product), ("norm", _Norm), ("rprelu", _RPReLU))


class _Stem(Structure):
    _fields_ = (
        *((name, c_int32) for name in ("image_size", "channels", "gelu", "reserved")),
        ("product", _Product),
        ("norm", _Norm),
        *((name, c_void_p) for name in ("position", "image_scale", "image_shift")),
    )


class _Mixer(Structure):
    _fields_ = (("norm_before", _Norm), ("convs", _Product * 3), ("rprelus", _RPReLU * 3), ("norm", _Norm))


class _Projection(Structure):
    _fields_ = (("project", _Residual), ("shift", c_void_p), ("step", c_float), ("reserved", c_int32))


class _Windows(Structure):
    _fields_ = (
        *((name, c_int32) for name in ("window", "reserved")),
        ("summary_mix", c_void_p),
        ("token_norm", _Norm),
        ("mix", c_void_p),
    )


class _Attention(Structure):
    _fields_ = (
        ("norm_before", _Norm),
        *((name, c_int32) for name in ("heads", "kind", "reduction_ratio", "reserved")),
        ("windows", POINTER(_Windows)),
        ("reduction", POINTER(_Residual)),
        *((name, _Projection) for name in ("query", "key", "value")),
        ("probability_scale", c_void_p),
        ("probability_zero", c_void_p),
        ("norm", _Norm),
        ("rprelu", _RPReLU),
        ("output", _Residual),
        ("layer_scale", _Scale),
    )


class _Mlp(Structure):
    _fields_ = (
        ("norm_after", _Norm),
        *((name, c_int32) for name in ("intermediate", "reach", "circular", "reserved")),
        ("expand", _Residual),
        ("project", _Residual),
        ("layer_scale", _Scale),
        *((name, c_void_p) for name in ("height_taps", "width_taps", "branch_shift")),
    )


class _Downsample(Structure):
    _fields_ = (
        ("norm_in", _Norm),
        ("product", _Product),
        ("norm", _Norm),
        ("residual", c_int32),
        ("reserved", c_int32),
        ("rprelu", _RPReLU),
        ("position", c_void_p),
    )


class _Head(Structure):
    _fields_ = (("norm", _Norm), ("product", _Product))


class _Block(Structure):
    _fields_ = (("mixer", POINTER(_Mixer)), ("attention", POINTER(_Attention)), ("mlp", POINTER(_Mlp)))


class _Stage(Structure):
    _fields_ = (
        ("downsample", POINTER(_Downsample)),
        *((name, c_int32) for name in ("side", "channels", "depth", "reserved")),
        ("blocks", POINTER(_Block)),
    )


class _Model(Structure):
    _fields_ = (
        ("stem", POINTER(_Stem)),
        ("stage_count", c_int32),
        ("reserved", c_int32),
        ("stages", POINTER(_Stage)),
        ("head", POINTER(_Head)),
    )


# In the order of bhvit_struct_sizes().
_STRUCTS: tuple[type[Structure], ...] = (
    _Product, _Norm, _RPReLU, _Scale, _Residual, _Stem, _Mixer, _Projection, _Windows, _Attention, _Mlp,
    _Downsample, _Head, _Block, _Stage, _Model,
)  # fmt: skip


def _filled(struct: type[Structure], value: Any, alive: list[Any]) -> Any:
    """The ctypes `struct` of a dataclass of `network`, field by field; what it points to is appended to `alive`."""
    native = struct()
    if value is not None:  # a missing part stays zero
        for name, kind in struct._fields_:  # type: ignore[misc]
            if not name.startswith("reserved"):
                setattr(native, name, _converted(kind, getattr(value, name), alive))
    return native


def _converted(kind: Any, value: Any, alive: list[Any]) -> Any:
    if kind is c_void_p:
        return None if value is None else _address(value, alive)
    if not isinstance(kind, type(Structure)) and not hasattr(kind, "_length_") and not hasattr(kind, "contents"):
        return value  # a number
    if hasattr(kind, "contents"):
        return _pointer(kind, value, alive)
    if hasattr(kind, "_length_"):
        return kind(*(_filled(kind._type_, item, alive) for item in value))
    return _filled(kind, value, alive)


def _pointer(kind: Any, value: Any, alive: list[Any]) -> Any:
    if value is None:
        return None
    items = value if isinstance(value, tuple) else (value,)
    array = (kind._type_ * len(items))(*(_filled(kind._type_, item, alive) for item in items))
    alive.append(array)
    return ctypes.cast(array, kind)


def _address(array: NDArray[Any], alive: list[Any]) -> int:
    if not array.flags.c_contiguous:
        array = np.ascontiguousarray(array)
    alive.append(array)
    return array.ctypes.data


def library_path() -> Path | None:
    """The core to load: the one that the environment names, or the built one, or None where none was built."""
    named = os.environ.get(LIBRARY_VARIABLE)
    if named:
        return Path(named).resolve()  # the dynamic loader would look for a bare name elsewhere
    return BUILT_LIBRARY if BUILT_LIBRARY.exists() else None


@cache
def load_library(path: Path) -> ctypes.CDLL:
    """The core at `path`; raises `InvalidInput` where it cannot be loaded or was built from another version."""
    try:
        library = ctypes.CDLL(str(path))
        abi = library.bhvit_abi()
        library.bhvit_struct_sizes.restype = POINTER(c_int32)
        library.bhvit_instruction_sets.restype = c_char_p
        library.bhvit_workspace_bytes.restype = c_int64
    except (OSError, AttributeError) as error:
        raise InvalidInput(
            f"{path} must be a library of the packed runtime, but {' '.join(str(error).split())}; "
            f"build it again, or unset {LIBRARY_VARIABLE}."
        ) from error
    count = c_int32()
    sizes = library.bhvit_struct_sizes(ctypes.byref(count))
    found, expected = [sizes[i] for i in range(count.value)], [ctypes.sizeof(struct) for struct in _STRUCTS]
    if abi != ABI or found != expected:
        raise InvalidInput(
            f"{path} must be built from this version (interface {ABI}, structs of {expected} bytes), but it has "
            f"interface {abi}, structs of {found} bytes; build it again."
        )
    return library


def instruction_sets(library: ctypes.CDLL) -> list[str]:
    """What `library` has and this processor can run, best first."""
    names: bytes = library.bhvit_instruction_sets()
    return names.decode().split()


class NativeRuntime:
    """A network in the compiled core, run with one instruction set; any number of threads may call it at once."""

    def __init__(self, network: Network, library: ctypes.CDLL, instruction_set: str) -> None:
        self.instruction_set = instruction_set
        self._library, self._isa = library, instruction_set.encode()
        self._alive: list[Any] = []  # all that the structs point to
        self._model = _filled(_Model, network, self._alive)
        self._shapes, side = network.shapes, network.stem.image_size
        self._image_shape = (3, side, side)
        self._workspaces: dict[int, list[NDArray[np.uint8]]] = {}  # idle ones, by number of threads

    def run(self, image: NDArray[Any], threads: int, seconds: NDArray[np.float64] | None = None) -> Floats:
        """See `model.Runtime`; `image` is uint8 or float32 of the model's size."""
        image = np.ascontiguousarray(image)
        logits = np.empty(self._shapes[-1], np.float32)
        timed = None if seconds is None else seconds.ctypes.data_as(POINTER(c_double))
        self._call("bhvit_run", threads, _data(image), c_int32(image.dtype != np.uint8), _data(logits), timed)
        return logits

    def run_layer(self, layer: int, values: Floats, threads: int = 1) -> Floats:
        """See `model.Runtime`; raises `InvalidInput` for a layer or a map that the network has not."""
        values, shapes = np.ascontiguousarray(values, np.float32), (self._image_shape, *self._shapes)
        if not 0 <= layer < len(self._shapes) or values.shape != shapes[layer]:
            raise InvalidInput(
                f"a layer must be one of 0 to {len(self._shapes) - 1} with its own input, but {layer} is asked for "
                f"with {values.shape}."
            )
        output = np.empty(self._shapes[layer], np.float32)
        self._call("bhvit_run_layer", threads, c_int32(layer), _data(values), _data(output))
        return output

    def _call(self, function: str, threads: int, *arguments: Any) -> None:
        idle = self._workspaces.setdefault(threads, [])
        try:
            workspace = idle.pop()  # atomic
        except IndexError:
            workspace = self._workspace(threads)
        try:
            call = getattr(self._library, function)
            failed = call(ctypes.byref(self._model), self._isa, c_int32(threads), _data(workspace), *arguments)
        finally:
            idle.append(workspace)
        if failed:
            raise InvalidInput(f"the packed runtime cannot run with {self.instruction_set} and {threads} threads.")

    def _workspace(self, threads: int) -> NDArray[np.uint8]:
        size = self._library.bhvit_workspace_bytes(ctypes.byref(self._model), self._isa, c_int32(threads))
        try:
            raw = np.empty(size + ALIGNMENT, np.uint8)
        except MemoryError as error:
            raise InvalidInput(
                f"a run with {threads} threads needs {size / 2**20:.0f} MiB of working memory for this model, which "
                "this machine does not give; use fewer threads, or a smaller model."
            ) from error
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + size]


def accumulate(
    library: ctypes.CDLL, product: Product, instruction_set: str, x: Floats, valid: NDArray[np.bool_] | None = None
) -> Floats:
    """The accumulators (tokens, groups * columns) of inputs `x` (tokens, taps, groups * channels), for tests."""
    alive: list[Any] = []
    struct = _filled(_Product, product, alive)
    x = np.ascontiguousarray(x, np.float32)
    inside = None if valid is None else np.ascontiguousarray(valid, np.uint8)
    sums = np.empty((len(x), product.groups * product.columns), np.float32)
    failed = library.bhvit_accumulate(
        ctypes.byref(struct), instruction_set.encode(), _data(x), None if inside is None else _data(inside),
        c_int32(len(x)), _data(sums),
    )  # fmt: skip
    if failed:
        raise InvalidInput(f"the packed runtime does not know the instruction set {instruction_set!r}.")
    return sums


def _data(array: NDArray[Any]) -> c_void_p:
    return c_void_p(array.ctypes.data)
