"""Packed files that someone tampered with, checksums corrected: read them, and run what can be read.

Run:  python -m tests.bhvit.runtime.packed_fuzz FOLDER SECONDS SEED      (FOLDER/case.bhvit is the last file)
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bhvit import PRECISIONS, ArchitectureConfig, InvalidInput, PrecisionPlan
from bhvit.binaryvit.architecture import BinaryViTConfig
from bhvit.runtime import load
from bhvit.runtime.families import PACKED_FAMILIES
from bhvit.runtime.packed_file import HEAD, MAGIC, read, write
from bhvit.runtime.placement import sections_of
from bhvit.runtime.schema import Header, random_arrays
from bhvit.runtime.values import SMALLEST_DIVISOR
from bhvit.staged import PyramidArchitecture
from tests.bhvit.runtime.networks import runtimes

LONGEST = 60  # seconds that one file may take, on the busiest machine
SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")  # which keeps hundreds of MiB of freed memory for a while
MOST = 1500 if SANITIZED else 200  # MiB that all of them may add to the process
RUNTIMES = runtimes()
Draw = random.Random

EXTREME_COUNTS = [0, 1, -1, 2, 7, 2**20, 2**20 + 1, 2**31, 2**63, -(2**63), 10**30]
EXTREME = [*EXTREME_COUNTS, 0.5, 1e308, -0.0, True, None, "", "b", [], {}]
DIVISORS = (".step", ".probability.alpha")
EXTREME_FLOATS = np.array([0, -0.0, 1e-45, 1e-38, 1e-8, -1e-8, 1, -1, 127.5, 1e9, 3e38, -3e38], np.float32)


def sealed(text: bytes, rest: bytes) -> bytes:
    """A file of the header `text` and whatever comes after it, with a right size and right checksums."""
    size = HEAD.size + len(text) + len(rest)
    try:
        version = Header.from_json(text).version
    except InvalidInput:
        version = 1
    return HEAD.pack(MAGIC, version, len(text), zlib.crc32(text), zlib.crc32(rest), size) + text + rest


def drawn_header(draw: Draw) -> Header:
    """A small legal model."""
    architecture = draw.choice(list(DRAWN.values()))(draw)
    some = draw.sample(list(PRECISIONS), draw.randint(1, 3))
    plan = PrecisionPlan.of_layers({a: PRECISIONS[draw.choice(some)] for a in architecture.addresses})
    names = tuple(f"class {i}" for i in range(architecture.num_classes)) if draw.random() < 0.5 else None
    return Header.of_plan(architecture, plan, norm=draw.choice(["batch", "layer"]), classes=names)


def _drawn_bhvit(draw: Draw) -> ArchitectureConfig:
    window = draw.choice([1, 1, 3])
    return ArchitectureConfig.from_lists(
        [4 * draw.randint(1, 9) for _ in range(2)] + [8 * draw.randint(1, 5) for _ in range(2)],
        [draw.randint(1, 70) for _ in range(4)],
        [1, draw.randint(1, 2), 1, 1],
        [1, 1, draw.choice([1, 2, 4]), draw.choice([1, 8])],
        32 * window * draw.randint(1, 2 if window == 1 else 1),
        window,
        draw.randint(1, 20),
        draw.choice([(), (3,), (5,), (3, 5), (5, 3)]),
        draw.choice(["auto", "residual", "plain"]),
    )


def _drawn_binaryvit(draw: Draw) -> BinaryViTConfig:
    image_size, heads = 32 * draw.randint(1, 3), [draw.choice([1, 2, 3]) for _ in range(4)]
    sides = [image_size // 4 // 2**i for i in range(4)]
    return BinaryViTConfig.from_lists(
        [h * draw.randint(1, 14) for h in heads],
        [draw.randint(1, 70) for _ in range(4)],
        [1, draw.randint(1, 2), 1, 1],
        heads,
        image_size,
        draw.randint(1, 20),
        [draw.choice([r for r in range(1, side + 1) if side % r == 0]) for side in sides],
        draw.choice([(), (3,), (5,), (3, 5), (5, 3)]),
        draw.random() < 0.5,
        draw.choice(["auto", "residual", "plain"]),
    )


DRAWN: dict[str, Callable[[Draw], PyramidArchitecture]] = {"bhvit": _drawn_bhvit, "binaryvit": _drawn_binaryvit}
assert set(DRAWN) == set(PACKED_FAMILIES)


def honest_file(path: Path, draw: Draw) -> tuple[bytes, bytes]:
    """Header and the rest of the file of a small legal model."""
    header = drawn_header(draw)
    write(path, header, random_arrays(header, draw.randrange(1000)))
    end = HEAD.size + len(header.to_json())
    return header.to_json(), path.read_bytes()[end:]


def changed_header(text: bytes, rest: bytes, draw: Draw) -> bytes:
    """A field of the header, or an entry of one, replaced by another value."""
    fields = json.loads(text)
    for _ in range(draw.randint(1, 2)):
        name = draw.choice(list(fields))
        value = fields[name]
        if isinstance(value, list) and value and draw.random() < 0.7:
            value[draw.randrange(len(value))] = _other(value[0], draw)
        elif isinstance(value, str) and value and draw.random() < 0.7:
            place = draw.randrange(len(value))
            fields[name] = value[:place] + draw.choice("bt248hfz\0") + value[place + 1 :]
        else:
            fields[name] = _other(value, draw)
    return sealed(json.dumps(fields).encode(), rest)


def _other(value: Any, draw: Draw) -> Any:
    if isinstance(value, int) and draw.random() < 0.6:
        return value + draw.choice([-4, -1, 1, 4, value])
    return draw.choice(EXTREME)


def torn_header(text: bytes, rest: bytes, draw: Draw) -> bytes:
    """Bytes of the header replaced, removed or repeated."""
    changed = bytearray(text)
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(changed))
        match draw.randrange(3):
            case 0:
                changed[place] = draw.randrange(256)
            case 1:
                del changed[place : place + draw.randint(1, 9)]
            case _:
                changed[place:place] = changed[place : place + draw.randint(1, 2000)] * draw.choice([1, 50])
    return sealed(bytes(changed), rest)


def other_tensors(text: bytes, rest: bytes, draw: Draw) -> bytes:
    """Bytes of the tensors replaced, single ones, runs, or all."""
    changed = bytearray(rest)
    for _ in range(draw.choice([1, 4, 64])):
        place = draw.randrange(len(changed))
        changed[place] = draw.randrange(256)
    if draw.random() < 0.2:
        changed = bytearray(draw.randbytes(len(rest)))
    return sealed(text, bytes(changed))


def extreme_numbers(text: bytes, rest: bytes, draw: Draw) -> bytes:
    """Constants replaced by extreme but finite ones; what is divided by stays legal."""
    content = bytearray(HEAD.size + len(text)) + rest
    numbers = np.random.default_rng(draw.randrange(2**32))
    share = draw.choice([0.001, 0.05, 1])
    for tensor, offset in sections_of(Header.from_json(text), HEAD.size + len(text))[0].tensors:
        values = np.frombuffer(content, "<f4", tensor.size, offset)
        legal = EXTREME_FLOATS
        if tensor.name.endswith(DIVISORS):
            legal = legal[legal >= SMALLEST_DIVISOR]
        chosen = numbers.random(tensor.size) < share
        values[chosen] = numbers.choice(legal, int(chosen.sum()))
    return sealed(text, bytes(content[HEAD.size + len(text) :]))


def cut_or_grown(text: bytes, rest: bytes, draw: Draw) -> bytes:
    """A rest of another length."""
    return sealed(text, rest[: draw.randrange(len(rest))] if draw.random() < 0.5 else rest + draw.randbytes(7))


def unsealed(text: bytes, rest: bytes, draw: Draw) -> bytes:
    """Any bytes of the file replaced, nothing corrected."""
    changed = bytearray(sealed(text, rest))
    for _ in range(draw.randint(1, 8)):
        changed[draw.randrange(draw.choice([HEAD.size, len(changed)]))] = draw.randrange(256)
    return bytes(changed)


def untouched(text: bytes, rest: bytes, draw: Draw) -> bytes:
    """The honest file."""
    return sealed(text, rest)


MUTATIONS: list[Callable[[bytes, bytes, Draw], bytes]] = [
    changed_header,
    torn_header,
    other_tensors,
    extreme_numbers,
    cut_or_grown,
    unsealed,
    untouched,
]


def tried(path: Path, draw: Draw) -> str:
    """What came of reading and running `path`; anything but an answer or `InvalidInput` ends the process."""
    try:
        read(path, copy=draw.random() < 0.5)
        model = load(path, threads=draw.choice([1, 2]), instruction_set=draw.choice(RUNTIMES))
    except InvalidInput as error:
        message = str(error)
        assert message.isprintable(), message
        assert len(message) < 2000, message
        return "refused"
    size = model.image_size
    image = np.random.default_rng(draw.randrange(1000)).integers(0, 256, (1, size, size, 3), np.uint8)
    with np.errstate(all="ignore"):
        logits = model(image)
    assert logits.shape == (1, model.header.architecture.num_classes)
    return "ran" if np.isfinite(logits).all() else "ran, logits not finite"


def main(folder: str, seconds: str, seed: str) -> None:
    """Try files until `seconds` are over."""
    path, draw, counts = Path(folder) / "case.bhvit", Draw(int(seed)), Counter[str]()
    before, end = _peak(), time.monotonic() + float(seconds)
    while time.monotonic() < end:
        text, rest = honest_file(path, draw)
        for mutation in (draw.choice(MUTATIONS) for _ in range(12)):
            signal.alarm(LONGEST)
            path.write_bytes(mutation(text, rest, draw))
            outcome = tried(path, draw)
            assert mutation is not untouched or outcome == "ran", outcome
            counts[f"{mutation.__name__}: {outcome}"] += 1
    print(f"{sum(counts.values())} files on {', '.join(RUNTIMES)}; {_peak() - before:.0f} MiB more than before")
    print("\n".join(f"{count:8} {what}" for what, count in sorted(counts.items())))
    assert _peak() - before < MOST, f"{_peak() - before:.0f} MiB more than before"


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
