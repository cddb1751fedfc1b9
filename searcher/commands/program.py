"""How the user can call us again."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def program() -> str:
    """`searcher` where it is on the path, else as it was called."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "python -m searcher"
    on_path = shutil.which(called.name)
    same = on_path is not None and called.exists() and Path(on_path).samefile(called)
    return called.name if same else os.path.relpath(called)
