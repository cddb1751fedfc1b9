"""How a training can end without a result: exceptions that the coordinator turns into recorded outcomes; no torch."""

from __future__ import annotations

from bhvit.errors import InvalidInput


class Diverged(Exception):
    """The loss became NaN or infinite; the message names phase, epoch and step."""


class OutOfMemory(Exception):
    """The device or the host ran out of memory; the message names the device and its peak use, `peak_bytes`."""

    def __init__(self, message: str = "", peak_bytes: float | None = None) -> None:
        super().__init__(message)
        self.peak_bytes = peak_bytes


class MissingData(InvalidInput):
    """The data set is not on disk and could not be fetched; the message says what is expected where."""


class StorageFailed(InvalidInput):
    """A file could not be written because the disk is full or read-only; the message names the file."""
