"""What stands for our characters on streams that have ASCII alone: one character of it each, in every view."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Mapping

ERRORS = "searcher.ascii"  # the name of `_replaced` among the error handlers of codecs

# No box drawing in a pipe.
FRAME = str.maketrans({"│": "|", "┤": "+", "└": "+", "─": "-", "┬": "+", "┊": ":", "╌": "-"})
ASCII: Mapping[int, str] = FRAME | str.maketrans(
    {
        **dict(zip("·▶●~↑∞!×‖◆★✓□†▲░▒▓█▸…±", ".>o~^8!x=D*+FLA.o%#>.+", strict=True)),
        **{"≥": ">=", "≤": "<=", "²": "2", "µ": "u"},
        **{chr(0x2800 + dots): "." if dots else " " for dots in range(256)},
    }
)


def adapt(stream: object) -> None:
    """Have the text stream write what stands for the characters it lacks; with LC_ALL=C it is taken to have ASCII."""
    if isinstance(stream, io.TextIOWrapper):
        asked = os.environ.get("LC_ALL") in ("C", "POSIX") and "PYTHONIOENCODING" not in os.environ
        stream.reconfigure(encoding="ascii" if asked else None, errors=ERRORS)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """Our characters by `ASCII`, others (in names and messages) by their code."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(ASCII.get(ord(c)) or c.encode("ascii", "backslashreplace").decode() for c in missing), error.end


codecs.register_error(ERRORS, _replaced)
