"""Data sets that torchvision can fetch: found in a folder, fetched, or missed with the command to get them."""

from __future__ import annotations

import fcntl
import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bhvit.errors import InvalidInput
from bhvit.wording import listed
from searcher.outcomes import MissingData


@dataclass(frozen=True)
class TorchvisionData:
    """Where a data set lies under `data.root`, and how torchvision gets it there.

    `loader` is a class of torchvision.datasets, called as `loader(root, **options, download=True)`; `layout` lists what
    is expected below the root; `locate(root)` is the folder of the data, none where it is absent.
    """

    name: str
    loader: str
    options: Mapping[str, str]
    layout: tuple[str, ...]
    locate: Callable[[Path], Path | None]

    def folder(self, root: Path, download: bool) -> Path:
        """The folder of the data, fetched where it is absent and `download` is set.

        Of several processes one fetches, the others wait. Raises `MissingData` where it is absent and cannot be
        fetched, `InvalidInput` where an earlier download was killed half-way.
        """
        if self._whole(root) is None and download:
            self._fetch(root)
        found = self.locate(root)
        if found is None:
            raise self._missing(root, "data.download is false")
        if self._unfinished(root).exists():
            raise InvalidInput(
                f"{found} must hold all of data set {self.name}, but its download was interrupted; delete the folder "
                f"and {self._unfinished(root)}, then get it with: {self.command(root)}"
            )
        return found

    def command(self, root: Path) -> str:
        """The shell command that puts the data under `root`."""
        options = "".join(f", {key}={json.dumps(value)}" for key, value in self.options.items())
        place = json.dumps(str(root), ensure_ascii=False)
        code = f"from torchvision.datasets import {self.loader}; {self.loader}({place}{options}, download=True)"
        return f"python -c {shlex.quote(code)}"

    def _fetch(self, root: Path) -> None:
        import torchvision.datasets

        root.mkdir(parents=True, exist_ok=True)
        with (root / ".download.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.locate(root) is not None:  # by another process meanwhile, or half of it by a killed one
                return
            self._unfinished(root).touch()
            try:
                getattr(torchvision.datasets, self.loader)(str(root), **self.options, download=True)
            except (OSError, RuntimeError) as error:  # no network, a broken archive, a full disk
                if self.locate(root) is None:
                    self._unfinished(root).unlink()
                raise self._missing(root, f"torchvision's download failed ({type(error).__name__}: {error})") from error
            self._unfinished(root).unlink()

    def _whole(self, root: Path) -> Path | None:
        return None if self._unfinished(root).exists() else self.locate(root)

    def _unfinished(self, root: Path) -> Path:
        return root / f".{self.name}.unfinished"  # there while a download runs, and after one was killed

    def _missing(self, root: Path, reason: str) -> MissingData:
        layout = listed(f"{root}/{part}" for part in self.layout)
        return MissingData(
            f"data set {self.name} expects {layout}, but they are absent and {' '.join(reason.split())}; correct "
            f"data.root, or get it with: {self.command(root)}"
        )
