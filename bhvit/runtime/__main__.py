"""`python -m bhvit.runtime model.bhvit image.jpg`: classes of images, by a packed model; no torch."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bhvit.errors import InvalidInput
from bhvit.runtime.model import Model, load
from bhvit.wording import counted

JSON_VIEW, JSON_SCHEMA = "runtime", 1  # as in the JSON of searcher's commands, which this one cannot import
PROFILE_RUNS = 20  # of the first image; the median of each layer is shown
EXAMPLES = """examples:
  python -m bhvit.runtime model.bhvit cat.jpg dog.png --top 3
  python -m bhvit.runtime model.bhvit cat.jpg --threads 2 --profile
  BHVIT_RUNTIME_ISA=avx2 python -m bhvit.runtime model.bhvit cat.jpg --json"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; an `InvalidInput` is one line and exit code 2. Images that can be classified always are."""
    options = _parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names that cannot be printed are no reason to fail
    try:
        report = _report(options)
        text = json.dumps(report, indent=2, allow_nan=False) if options.json else _text(report)
        if text:
            print(text, flush=True)
        for entry in report["errors"]:
            _complain(entry["error"])
        return 2 if report["errors"] else 0
    except InvalidInput as error:
        return _complain(str(error))
    except MemoryError:
        return _complain("the model and an image must fit into memory, but there is too little; free some.")
    except BrokenPipeError:  # the reader of our output left, as in `... | head`
        _discard_output()
        return 0
    except OSError as error:
        _discard_output()
        return _complain(f"{error.strerror or error}; check the path and free space.")
    except KeyboardInterrupt:
        _complain("interrupted.")
        return 130


def _complain(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _discard_output() -> None:
    """What is still buffered would fail once more when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bhvit.runtime",
        description="Classify images with a packed model.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, help="packed model (searcher deploy --format packed)")
    parser.add_argument("images", type=Path, nargs="+", metavar="image", help="image files of any size")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes to print an image (default: 5)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads to compute with (default: 1)")
    parser.add_argument("--profile", action="store_true", help="also print where the time of an image goes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _report(options: argparse.Namespace) -> dict[str, Any]:
    if options.top < 1:
        raise InvalidInput(f"--top must be at least 1, but it is {options.top}.")
    model = load(options.model, threads=options.threads)
    first: NDArray[np.uint8] | None = None
    found, errors = list[dict[str, Any]](), list[dict[str, str]]()
    for path in options.images:
        try:
            image = read_image(path, model)
            found.append({"image": str(path), "classes": _ranked(model, image, options.top, path)})
            first = image if first is None else first
        except InvalidInput as error:
            errors.append({"image": str(path), "error": str(error)})
    report: dict[str, Any] = {
        "view": JSON_VIEW,
        "schema": JSON_SCHEMA,
        "model": str(options.model),
        "instruction_set": model.instruction_set,
        "threads": model.threads,
        "images": found,
        "errors": errors,
    }
    if options.profile and first is not None:
        runs = [model.profile(first[None]) for _ in range(PROFILE_RUNS)]
        report["seconds"] = {address: float(np.median([run[address] for run in runs])) for address in model.layers}
    return report


def read_image(path: Path, model: Model) -> NDArray[np.uint8]:
    """The pixels (S, S, 3) of an image file, resized and cropped as the model's header says."""
    from PIL import Image  # a caller with pixels of its own needs no Pillow

    from bhvit.pixels import evaluation_crop, readable, upright_rgb

    with readable(path, "check the path"), Image.open(path) as opened:
        header = model.header
        image = evaluation_crop(upright_rgb(opened), model.image_size, header.crop_pct, header.interpolation)
        return np.asarray(image)


def _ranked(model: Model, image: NDArray[np.uint8], top: int, path: Path) -> list[dict[str, Any]]:
    logits = model(image[None])[0].astype(np.float64)
    if not np.isfinite(logits).all():
        raise InvalidInput(f"logits must be finite, but those of {path} are not; export the model again.")
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    names = model.classes or tuple(f"class {i}" for i in range(len(logits)))
    best = np.argsort(-probabilities, kind="stable")[:top]
    return [{"index": int(i), "class": names[i], "probability": float(probabilities[i])} for i in best]


def _text(report: dict[str, Any]) -> str:
    lines = []
    for entry in report["images"]:
        lines.append(entry["image"])
        lines += [f"  {100 * c['probability']:5.1f} %  {c['class']}" for c in entry["classes"]]
    if "seconds" in report:
        lines += ["", *_profile(report)]
    return "\n".join(lines)


def _profile(report: dict[str, Any]) -> list[str]:
    seconds = report["seconds"]
    total = sum(seconds.values())
    width = max(map(len, seconds))
    threads = counted(report["threads"], "thread")
    return [
        f"{1e3 * total:.2f} ms an image ({report['instruction_set']}, {threads}, median of {PROFILE_RUNS})",
        *(f"  {name:<{width}}  {1e3 * s:7.3f} ms  {100 * s / total:4.1f} %" for name, s in seconds.items()),
    ]


if __name__ == "__main__":
    sys.exit(main())
