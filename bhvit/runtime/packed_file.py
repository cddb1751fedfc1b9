"""Packed files: written whole, read strictly, mapped into memory (`docs/packed_format.md`)."""

from __future__ import annotations

import math
import mmap
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bhvit.errors import InvalidInput
from bhvit.runtime.header import VERSIONS, Header
from bhvit.runtime.layouts import stored_dtype, stored_shape, to_kernel, to_natural, to_stored
from bhvit.runtime.placement import ALIGNMENT, Section, sections_of
from bhvit.runtime.schema import Tensor, tensors_of
from bhvit.runtime.values import check_chunk, check_natural, check_stored
from bhvit.wording import listed

MAGIC = b"\x89BHVIT\r\n"  # like PNG's: shows a transfer as text, or through seven bits
HEAD = struct.Struct(
    "<8sIIIIQ"
)  # magic, version, bytes of the header, CRC32 of it and of all after it, bytes of the file
MAX_HEADER = 2**20
MAX_FILE = 2**32
CHUNK = 2**18  # bytes that are checked at a time: they stay in the processor's cache

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class PackedModel:
    """A packed file that was read and checked: its header and, read-only, its tensors as the file stores them.

    Stored forms are those of `bhvit.runtime.layouts`; `kernel_weight` and `natural` give the other two.
    """

    header: Header
    tensors: Mapping[str, NDArray[Any]]
    path: Path

    @cached_property
    def schema(self) -> Mapping[str, Tensor]:
        """Name -> what the tensor is, in forward order."""
        return MappingProxyType({t.name: t for t in tensors_of(self.header)})

    def kernel_weight(self, name: str) -> NDArray[Any]:
        """A weight as kernels read it: the file itself where it has that layout, else a copy."""
        return to_kernel(self.schema[name], self.tensors[name])

    def natural(self, name: str) -> NDArray[Any]:
        """A tensor in its natural shape: weights as signs, levels or numbers (groups, columns, taps, channels)."""
        return to_natural(self.schema[name], self.tensors[name])


def write(path: Path | str, header: Header, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write `arrays` (name -> natural form, as in `schema.random_arrays`) to the file `path`, whole or not at all.

    Raises `InvalidInput` where they are not exactly the tensors of `header`, or have values that `read` refuses.
    """
    from bhvit.whole_files import write_with  # readers do without the memory of what it imports

    expected = {t.name for t in tensors_of(header)}
    if unexpected := [name for name in arrays if name not in expected]:
        raise InvalidInput(f"a packed model must have no other tensors than its own, but {unexpected[0]} is given.")
    text, version = header.to_json(), header.version
    sections = sections_of(header, HEAD.size + len(text))
    size = sections[-1].stop
    if len(text) > MAX_HEADER or size > MAX_FILE:
        raise InvalidInput(
            f"a packed file has at most {MAX_HEADER} bytes of header and {MAX_FILE} in all, but this one would have "
            f"{len(text)} and {size}; shorten the class names, or use a smaller model."
        )
    write_with(Path(path), lambda temporary: _write(temporary, version, text, sections, size, arrays))


def _write(
    path: Path, version: int, text: bytes, sections: tuple[Section, ...], size: int, arrays: Mapping[str, Any]
) -> None:
    with path.open("r+b") as file:
        file.write(bytes(HEAD.size) + text)
        checksum = 0
        for section in sections:
            for piece in _pieces(section, file.tell(), arrays):
                checksum = zlib.crc32(piece, checksum)
                file.write(piece)
        file.seek(0)
        file.write(HEAD.pack(MAGIC, version, len(text), zlib.crc32(text), checksum, size))


def _pieces(section: Section, before: int, arrays: Mapping[str, Any]) -> Iterator[bytes | memoryview]:
    yield bytes(section.start - before)
    for tensor, _ in section.tensors:
        stored = to_stored(tensor, check_natural(tensor, arrays))
        check_stored(tensor, stored)
        yield stored.reshape(-1).view(np.uint8).data


def read(path: Path | str, copy: bool = False) -> PackedModel:
    """The packed model of the file `path`; its tensors are views of the mapped file.

    Every byte is checked once, through a small buffer. The file must not change while the model is in use: one that
    another process shortens ends this one with SIGBUS when a missing page is touched, as with any mapped file. Where
    that can happen, `copy` reads the file into private memory before it is checked.
    Raises `InvalidInput` where the file cannot be read or breaks a rule of the format.
    """
    path = Path(path)
    with _regular_file(path) as file:
        try:
            head = _head(file)
            content = _copied(file, head.size) if copy else _mapped(file, head.size)
            _check_payload(head, (lambda start, stop: content[start:stop]) if copy else _reader(file))
            tensors = {t.name: _view(content, t, offset) for section in head.sections for t, offset in section.tensors}
        except InvalidInput as error:
            raise InvalidInput(f"{path} is not a packed model that can be used: {error}") from error
        except OSError as error:
            raise _unreadable(path, error) from error
    return PackedModel(head.header, MappingProxyType(tensors), path)


def _unreadable(path: Path, error: OSError | ValueError) -> InvalidInput:
    reason = getattr(error, "strerror", None) or str(error)
    return InvalidInput(
        f"a packed file must be readable, but {path}: {reason}; name a file written by searcher deploy."
    )


@contextmanager
def _regular_file(path: Path) -> Iterator[int]:
    """A descriptor of the file, open for reading."""
    try:
        # Not blocking: opening a pipe that nobody writes to would wait for ever.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise _unreadable(path, error) from error
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise InvalidInput(
                f"a packed file must be a regular file, but {path} is none; name a file such as m.bhvit."
            )
        yield file
    finally:
        os.close(file)


@dataclass(frozen=True)
class _Head:
    """What a file states before its tensors: its header ends at byte `end`, the file at `size`."""

    header: Header
    sections: tuple[Section, ...]
    end: int
    size: int
    checksum: int


def _head(file: int) -> _Head:
    """What the file states, consistent with its size."""
    size = os.fstat(file).st_size
    if not HEAD.size < size <= MAX_FILE:
        raise InvalidInput(f"it must have {HEAD.size + 1} to {MAX_FILE} bytes, but has {size}; export the model again.")
    part = _reader(file)
    magic, version, length, header_checksum, checksum, stated = HEAD.unpack(part(0, HEAD.size).data)
    if magic != MAGIC:
        raise InvalidInput(f"it must begin with {MAGIC!r}, but begins with {magic!r}; name a file such as m.bhvit.")
    if version not in VERSIONS:
        raise InvalidInput(
            f"its format must be version {listed(VERSIONS, 'or')}, but is {version}; use another version of bhvit."
        )
    if stated != size:
        raise InvalidInput(f"it must have the {stated} bytes that it states, but has {size}; copy it again.")
    if length > min(MAX_HEADER, size - HEAD.size):
        raise InvalidInput(f"its header must be at most {min(MAX_HEADER, size - HEAD.size)} bytes, but is {length}.")
    text = part(HEAD.size, HEAD.size + length).tobytes()
    if zlib.crc32(text) != header_checksum:
        raise InvalidInput("its header must have the checksum that it states, but has another; copy it again.")
    header = Header.from_json(text)
    if header.version != version:
        raise InvalidInput(f"its format must be version {header.version}, as its precisions say, but is {version}.")
    sections = sections_of(header, HEAD.size + length)
    if sections[-1].stop != size:
        raise InvalidInput(f"its model must need all of its {size} bytes, but needs {sections[-1].stop}.")
    return _Head(header, sections, HEAD.size + length, size, checksum)


def _reader(file: int) -> Callable[[int, int], Bytes]:
    """A function that gives a part of the file, start to stop, in a buffer that the next call uses again."""
    buffer = np.empty(CHUNK, np.uint8)

    def part(start: int, stop: int) -> Bytes:
        target = buffer[: stop - start] if stop - start <= CHUNK else np.empty(stop - start, np.uint8)
        _fill(file, start, target)
        return target

    return part


def _fill(file: int, start: int, target: Bytes) -> None:
    done = 0
    while done < len(target):
        count = os.preadv(file, [target[done:].data], start + done)
        if not count:
            raise InvalidInput(f"it must stay as it is while it is read, but ends at byte {start + done} now.")
        done += count


def _mapped(file: int, size: int) -> Bytes:
    try:
        return np.frombuffer(mmap.mmap(file, size, access=mmap.ACCESS_READ), np.uint8)
    except ValueError as error:  # shorter by now
        raise InvalidInput(f"it must stay as it is while it is read, but {error}.") from error


def _copied(file: int, size: int) -> Bytes:
    memory = np.empty(size + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    content = memory[first : first + size]
    _fill(file, 0, content)
    content.flags.writeable = False
    return content


def _check_payload(head: _Head, part: Callable[[int, int], Bytes]) -> None:
    """Checksum and values of all that follows the header; the checksum first, as it explains what else is wrong."""
    found, end, wrong = 0, head.end, None
    for section in head.sections:
        for item, start, stop in (("gap", end, section.start), (section.item, section.start, section.stop)):
            for first in range(start, stop, CHUNK):
                chunk = part(first, min(first + CHUNK, stop))
                found = zlib.crc32(chunk.data, found)
                try:
                    check_chunk(item, chunk)
                except InvalidInput as error:
                    wrong = wrong or error
        end = section.stop
    if found != head.checksum:
        raise InvalidInput("its tensors must have the checksum that it states, but have another; copy it again.")
    if wrong is not None:
        raise wrong


def _view(content: Bytes, tensor: Tensor, offset: int) -> NDArray[Any]:
    shape, dtype = stored_shape(tensor), stored_dtype(tensor)
    array = np.frombuffer(content, dtype, math.prod(shape), offset).reshape(shape)
    check_stored(tensor, array)
    return array
