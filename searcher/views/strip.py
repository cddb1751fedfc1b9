"""The precision strip: one line that says the weight bits of every layer, stage by stage.

On a terminal two columns a cell, ` 1 1│16│ 1 4│ 8│...`, coloured as everywhere; in a pipe one word, `1/1-16-1/4-8`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, zip_longest

from rich.text import Text

from bhvit.precision import Precision
from bhvit.wording import plural
from searcher.model_space import ModelSpace
from searcher.views.marks import precision_cell

MIXED = "*"  # the blocks of a stage differ
UNALIGNED = "bits of weights"  # what stands over strips of several kinds of layers
CELL = 2  # columns


def strip_text(layers: Mapping[str, Precision], plain: bool = False, heading: str = "") -> Text:
    """The strip of a candidate's `layers` (address -> precision); `plain` for a pipe.

    Under a `heading` that is `UNALIGNED` two cells of two digits are apart: `16 16`.
    """
    parts = [[_cell(found, plain) for found in kinds] for kinds in _parts(layers).values()]
    if plain:
        return Text("-").join(Text("/").join(cells) for cells in parts)
    return Text("│").join(_stage(cells, heading == UNALIGNED) for cells in parts)


def strip_heading(addresses: Iterable[str]) -> str:
    """What stands over strips: `S0  │D1│S1  │...`, where S is a stage and D a downsampling layer."""
    parts = _parts(dict.fromkeys(addresses))
    return "│".join(_letter(part).ljust(CELL * len(kinds)) for part, kinds in parts.items())


def _kinds(addresses: Iterable[str]) -> dict[str, list[str]]:
    """Stage or single layer -> the kinds of its layers, in their order."""
    kinds: dict[str, dict[str, None]] = {}
    for address in addresses:
        kinds.setdefault(address.split(".")[0], {}).setdefault(address.rsplit(".", 1)[-1])
    return {part: list(names) for part, names in kinds.items()}


def strips_heading(models: Iterable[ModelSpace]) -> str:
    """What stands over strips of these models: nothing but a word where they have other layers each."""
    headings = {strip_heading(model.base.addresses) for model in models}
    return headings.pop() if len(headings) == 1 else UNALIGNED


def strips_note(models: Iterable[ModelSpace]) -> str:
    """How to read strips of these models: what is equal once, and of which models the cells of a stage are what."""
    kinds: dict[str, list[str]] = {}
    labels: dict[str, list[str]] = {}
    for model in models:
        own = _kinds(model.base.addresses)
        kinds |= own
        labels.setdefault(_order(own), []).append(model.label)
    stages = [_letter(part) for part, names in kinds.items() if len(names) > 1]
    singles = [_letter(part) for part, names in kinds.items() if len(names) == 1]
    orders = [order if len(labels) == 1 else f"{', '.join(of)}: {order}" for order, of in labels.items()]
    said = [f"{_range(stages)} {plural('stage', len(stages))} ({'; '.join(orders)})"] if stages else []
    said += [f"{_range(singles)} downsampling"] if singles else []
    return f"Bits of weights: {', '.join([*said, f'{MIXED} blocks differ'])}."


def _order(kinds: Mapping[str, Sequence[str]]) -> str:
    """The kinds of layers of a stage, cell by cell."""
    columns = zip_longest(*(names for names in kinds.values() if len(names) > 1))
    return ", then ".join(" or ".join(dict.fromkeys(filter(None, names))) for names in columns)


def _parts(layers: Mapping[str, Precision | None]) -> dict[str, list[set[Precision | None]]]:
    """Stage or single layer -> the precisions of each kind of its layers, all in the order of the layers."""
    parts: dict[str, dict[str, set[Precision | None]]] = {}
    for address, precision in layers.items():
        part, kind = address.split(".")[0], address.rsplit(".", 1)[-1]
        parts.setdefault(part, {}).setdefault(kind, set()).add(precision)
    return {part: list(kinds.values()) for part, kinds in parts.items()}


def _stage(cells: list[Text], apart: bool) -> Text:
    """The cells beside each other; where they may be `apart`, those that fill their columns are."""
    text = cells[0].copy()
    for before, cell in pairwise(cells):
        full = apart and " " not in before.plain + cell.plain
        text.append(" " if full else "").append_text(cell)
    return text


def _cell(found: set[Precision | None], plain: bool) -> Text:
    only = next(iter(found)) if len(found) == 1 else None
    cell = Text(MIXED.rjust(CELL)) if only is None else precision_cell(only)
    return Text(cell.plain.strip()) if plain else cell


def _letter(part: str) -> str:
    """`stage2` as S2, `downsample1` as D1."""
    name = part.rstrip("0123456789")
    return f"{name[:1].upper()}{part[len(name) :]}"


def _range(letters: list[str]) -> str:
    return letters[0] if len(letters) == 1 else f"{letters[0]}-{letters[-1]}"
