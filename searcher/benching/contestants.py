"""Which file is measured how: `model.onnx`, `model.bhvit`, `model.bhvit@avx2`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bhvit.errors import InvalidInput, unknown_name

ONNX, PACKED = ".onnx", ".bhvit"
INSTRUCTION_SETS = ("avx512", "avx2", "neon", "scalar", "numpy")


@dataclass(frozen=True)
class Contestant:
    """A file, the instruction set it shall use (None: the runtime's choice; ONNX files have none) and its threads.

    Raises `InvalidInput` for a file that is absent or of another kind, and for an instruction set that is unknown or
    asked of an ONNX file.
    """

    path: Path
    instruction_set: str | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        if self.path.suffix not in (ONNX, PACKED):
            raise InvalidInput(f"bench takes {ONNX} and {PACKED} files, but got {self.path}; see `searcher deploy`.")
        if not self.path.is_file():
            raise InvalidInput(f"{self.path} must be a file, but there is none; correct the path.")
        if self.threads < 1:
            raise InvalidInput(f"threads must be at least 1, but they are {self.threads}.")
        if self.instruction_set is None:
            return
        if self.instruction_set not in INSTRUCTION_SETS:
            raise unknown_name("instruction set", self.instruction_set, INSTRUCTION_SETS)
        if not self.packed:
            raise InvalidInput(
                f"only {PACKED} files take an instruction set, but {self.path.name} is to use {self.instruction_set}; "
                "leave it out."
            )

    @property
    def packed(self) -> bool:
        """Whether it is one of ours, rather than onnxruntime's."""
        return self.path.suffix == PACKED


def contestant(text: str, threads: int = 1) -> Contestant:
    """A contestant as it is written on the command line: FILE, or FILE@SET; raises `InvalidInput` as it does."""
    stem, at, instruction_set = text.rpartition("@")
    if at and not Path(text).exists():
        return Contestant(Path(stem), instruction_set, threads)
    return Contestant(Path(text), None, threads)


def names(paths: Sequence[Path], instruction_sets: Sequence[str | None]) -> list[str]:
    """What each is called in a table: the ends of their paths by which they differ, and what a packed one runs with."""
    parts = [path.absolute().parts for path in paths]
    length = 1
    while len({p[-length:] for p in parts}) < len(set(parts)):
        length += 1
    ends = ["/".join(p[-length:]) for p in parts]
    return [end if used is None else f"{end}@{used}" for end, used in zip(ends, instruction_sets, strict=True)]
