"""A packed model that can be called: images in, logits out."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bhvit.errors import InvalidInput, unknown_name
from bhvit.layer_terms import HEAD, STEM
from bhvit.runtime import native
from bhvit.runtime.assembly import network_of
from bhvit.runtime.header import Header
from bhvit.runtime.network import Floats, Network
from bhvit.runtime.packed_file import read

ISA_VARIABLE = "BHVIT_RUNTIME_ISA"
NUMPY = "numpy"
MAX_THREADS = 256  # BHVIT_MAX_THREADS of native/core.h


class Runtime(Protocol):
    """What computes a network, one image at a call; `native.NativeRuntime` or `NumpyRuntime`."""

    instruction_set: str

    def run(self, image: NDArray[Any], threads: int, seconds: NDArray[np.float64] | None = None) -> Floats:
        """Logits (classes) of one image; `seconds` gets the time of every layer."""

    def run_layer(self, layer: int, values: Floats, threads: int = 1) -> Floats:
        """What one layer, by its number in forward order, makes of the map (r, r, C), or float image, `values`."""


class NumpyRuntime:
    """A network in numpy; `threads` within an image are numpy's own affair."""

    instruction_set = NUMPY

    def __init__(self, network: Network) -> None:
        from bhvit.runtime import numpy_forward  # a compiled core does without the memory

        self._layers = tuple(numpy_forward.layers(network))

    def run(self, image: NDArray[Any], threads: int, seconds: NDArray[np.float64] | None = None) -> Floats:
        """See `Runtime`."""
        values = image
        for i, layer in enumerate(self._layers):
            begin = time.perf_counter()
            values = layer(values)
            if seconds is not None:
                seconds[i] = time.perf_counter() - begin
        return values

    def run_layer(self, layer: int, values: Floats, threads: int = 1) -> Floats:
        """See `Runtime`."""
        return self._layers[layer](values)


class Model:
    """A packed model; `model(images)` gives logits. Any number of threads may call it at once.

    `threads` may be set at any time. `classes` are the names of the classes, or None.
    """

    def __init__(self, path: Path, header: Header, network: Network, runtime: Runtime, threads: int = 1) -> None:
        self.path, self.header, self.network, self.runtime = path, header, network, runtime
        self.threads = threads

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes, or None where the file has none."""
        return self.header.classes

    @property
    def image_size(self) -> int:
        """S, the side of an image in pixels."""
        return self.header.architecture.image_size

    @property
    def instruction_set(self) -> str:
        """What computes: `avx512`, `avx2`, `neon`, `scalar` or `numpy`."""
        return self.runtime.instruction_set

    @property
    def threads(self) -> int:
        """Threads that a call uses."""
        return self._threads

    @threads.setter
    def threads(self, threads: int) -> None:
        if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
            raise InvalidInput(f"threads must be a whole number of 1 to {MAX_THREADS}, but it is {threads!r}.")
        self._threads = threads

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Addresses of what `profile` times: `stem`, the layers in forward order, `head`."""
        return (STEM, *self.header.architecture.addresses, HEAD)

    def __call__(self, images: NDArray[Any]) -> Floats:
        """Logits float32 (B, classes) of `images`: uint8 (B, S, S, 3) RGB, or float (B, 3, S, S) already normalised.

        With several threads, images run side by side as far as there is one for each thread, and what is left over
        with all threads in one image. Raises `InvalidInput` for images of another shape or type.
        """
        batch, threads = self._checked(images), self._threads
        logits = np.empty((len(batch), self.network.stem.classes), np.float32)
        together = len(batch) // threads * threads if threads > 1 else 0
        if together:
            _in_threads(threads, together, lambda i: _run_into(self.runtime, batch, logits, i, 1))
        for i in range(together, len(batch)):
            _run_into(self.runtime, batch, logits, i, threads)
        return logits

    def profile(self, images: NDArray[Any]) -> dict[str, float]:
        """Seconds of every layer (`layers`), the mean of `images`, which run one after the other with all threads."""
        batch = self._checked(images)
        seconds = np.zeros((len(batch), len(self.layers)))
        for image, row in zip(batch, seconds, strict=True):
            self.runtime.run(image, self._threads, row)
        return dict(zip(self.layers, seconds.mean(axis=0).tolist(), strict=True))

    def _checked(self, images: NDArray[Any]) -> NDArray[Any]:
        images, side = np.asarray(images), self.image_size
        if images.dtype == np.uint8 and images.shape[1:] == (side, side, 3) and len(images):
            return images
        if images.dtype.kind == "f" and images.shape[1:] == (3, side, side) and len(images):
            return images.astype(np.float32, copy=False)
        raise InvalidInput(
            f"images must be uint8 (batch, {side}, {side}, 3) or normalised floats (batch, 3, {side}, {side}) for this "
            f"model, but they are {images.dtype} {images.shape}; resize them, and give a batch of one for one image."
        )


def load(path: str | Path, threads: int = 1, instruction_set: str | None = None) -> Model:
    """The packed model at `path`, memory-mapped, ready to be called with images.

    `instruction_set` is the best one of this processor where neither it nor `BHVIT_RUNTIME_ISA` says otherwise;
    `numpy` needs no compiled core, and is what computes, slowly and with a notice, where there is none.
    Raises `InvalidInput` for a file that is not a packed model and for an instruction set that this machine lacks.
    """
    packed = read(path)
    network = network_of(packed)
    return Model(packed.path, packed.header, network, runtime_of(network, instruction_set), threads)


def runtime_of(network: Network, instruction_set: str | None = None) -> Runtime:
    """What computes `network`, see `load`."""
    wanted = instruction_set or os.environ.get(ISA_VARIABLE) or None
    path = None if wanted == NUMPY else native.library_path()
    if path is None:
        if wanted not in (None, NUMPY):
            raise unknown_name("instruction set (the packed runtime was not compiled here)", wanted, (NUMPY,))
        if wanted is None:
            _notice()
        return NumpyRuntime(network)
    library = native.load_library(path)
    available = native.instruction_sets(library)
    if wanted is not None and wanted not in available:
        raise unknown_name("instruction set on this machine", wanted, (*available, NUMPY))
    return native.NativeRuntime(network, library, wanted or available[0])


@cache
def _notice() -> None:
    """Says once that numpy computes, and why where the build has left a note."""
    import logging  # costs a megabyte, and is needed here alone

    log = native.BUILT_LIBRARY.with_suffix(".log")
    reason = f" (see {log})" if log.exists() else ""
    logging.getLogger("bhvit").warning(
        "bhvit: the packed runtime was not compiled here%s, so numpy computes: same results, slow; pip install . with "
        "a C++ compiler builds it, and BHVIT_RUNTIME_ISA=numpy silences this.",
        reason,
    )


def _run_into(runtime: Runtime, batch: NDArray[Any], logits: Floats, i: int, threads: int) -> None:
    logits[i] = runtime.run(batch[i], threads)


def _in_threads(threads: int, count: int, task: Callable[[int], None]) -> None:
    """`task(i)` for every i below `count` in this many threads; an exception of any is raised here."""
    todo = iter(range(count))
    failures: list[BaseException] = []
    lock = threading.Lock()

    def work() -> None:
        try:
            while not failures and (i := _next(todo, lock)) is not None:
                task(i)
        except BaseException as error:
            failures.append(error)

    others = [threading.Thread(target=work) for _ in range(threads - 1)]
    for thread in others:
        thread.start()
    work()
    for thread in others:
        thread.join()
    if failures:
        raise failures[0]


def _next(todo: Iterator[int], lock: threading.Lock) -> int | None:
    with lock:
        return next(todo, None)
