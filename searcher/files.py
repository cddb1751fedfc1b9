"""Text and JSON files that are either whole or absent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from bhvit.errors import InvalidInput
from bhvit.whole_files import write_with
from searcher.numbers import size_text


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    write_with(path, lambda temporary: _write(temporary, text))


def write_json(path: Path, data: Any) -> None:
    """Write `data` as indented JSON to `path`, whole or not at all."""
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON document in `path`; raises `InvalidInput` naming the file where it is not one."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        remedy = "restore it (in a study: `searcher doctor STUDY --fix` mends it)"
        raise InvalidInput(f"{path} must be a readable JSON file, but {reason}; {remedy}.") from error


def put_out(path: Path, data: bytes, what: str) -> str:
    """Write `data`, which is `what`, to the path that `--out` names, whole or not at all; says so in one line."""
    done = "Replaced" if path.exists() else "Wrote"
    write_with(path, lambda temporary: _write_bytes(temporary, data))
    return f"{done} {path} ({size_text(len(data))}): {what}."


def require_writable(path: Path) -> None:
    """Raise `InvalidInput` where `--out` names no file that could be written."""
    if not path.parent.is_dir():
        raise InvalidInput(f"--out must be in a folder that exists, but {path.parent} is none; create it first.")
    _require_outside_studies(path)
    if path.is_dir():
        raise InvalidInput(f"--out must be a file, but {path} is a folder; name a file in it.")


def make_folder(path: Path) -> None:
    """Make the folder that `--out` names where it is absent; raises `InvalidInput` where it could hold no files."""
    if path.exists() and not path.is_dir():
        raise InvalidInput(f"--out must be a folder, but {path} is a file; name a folder.")
    _require_outside_studies(path / "file")
    path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK | os.X_OK):
        raise InvalidInput(f"--out must be a folder that you may write to, but {path} is not; name another one.")


def _require_outside_studies(path: Path) -> None:
    holders = (p for p in path.resolve().parents if (p / "space.yaml").exists())
    study = next((p for p in holders if (p / "trials").is_dir() or (p / "study.db").exists()), None)
    if study is not None:
        raise InvalidInput(f"--out must be outside of studies, but {study} is one; write it somewhere else.")


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
