"""The one exception that means "the input is wrong", wherever it was noticed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

ALIKE = 0.65
"""difflib's ratio from which one name may be meant by another: two that merely share an end (windw_size, image_size)
have up to 0.6, a letter of three that is wrong (ome, one) gives 0.67."""


class InvalidInput(ValueError):
    """A value a user gave breaks a rule.

    The message is one line: the rule, the offending values and the remedy. `searcher.cli.main` prints it and exits
    with code 2; library callers catch it as a `ValueError`.
    """


def unknown_name(kind: str, name: object, known: Iterable[str], hint: str = "") -> InvalidInput:
    """Error for a name that is not in a table: lists the legal names, corrects nothing.

    Behind the name stands a `hint`, that at the nearest match unless another is given.
    """
    names = sorted(set(known))
    return InvalidInput(f"unknown {kind} {name!r}{hint or nearest(name, names)}; use one of: {', '.join(names)}.")


def nearest(name: object, known: Iterable[str]) -> str:
    """A hint at the one of `known` that is the most like `name`, to stand behind it.

    Empty where none is like it, or two are equally so (int3 is as near to int2 as to int8).
    """
    word = str(name)
    close = difflib.get_close_matches(word, known, n=2, cutoff=ALIKE)
    ratios = {difflib.SequenceMatcher(None, other, word).ratio() for other in close}
    return f" (did you mean {close[0]!r}?)" if close and len(ratios) == len(close) else ""


@contextmanager
def renamed(names: Mapping[str, str]) -> Iterator[None]:
    """Let messages of what is wrong within speak of `names`' keys by their values, the names that users write.

    Fields of a configuration have other names in a space file, in timm and on the command line.
    """
    try:
        yield
    except InvalidInput as error:
        fields = re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})\b")
        raise InvalidInput(fields.sub(lambda match: names[match[0]], str(error))) from error
