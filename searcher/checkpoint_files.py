"""Names of the files of a training, and whether a safetensors file is whole, without loading it; no torch here."""

from __future__ import annotations

import json
from pathlib import Path

LAST, BEST = "last.safetensors", "best.safetensors"  # of a trial or an FP parent
PARENT_MARK = "parent.json"  # in the folder of a trial that trains its FP parent
WARM_STARTS = "_warm_starts"  # the folder of all FP parents, beside the studies
_LENGTH_BYTES = 8


def torn(path: Path) -> str | None:
    """Why the safetensors file `path` is not whole; None where it is.

    The header says where the last tensor ends, which must be where the file ends (format: eight bytes with the length
    of the JSON header, little-endian, then the header, then the tensors).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if size < _LENGTH_BYTES or length > size - _LENGTH_BYTES:
            return f"its {size:,} bytes end within the header"
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return "its header cannot be read"
    whole = _LENGTH_BYTES + length + max(ends, default=0)
    return None if size == whole else f"it has {size:,} bytes and should have {whole:,}"
