"""A calibrated device: its coefficients beside those of the shipped profile, and how well they predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from bhvit.device_file import plain_decimal
from bhvit.device_profile import COEFFICIENTS, DeviceProfile
from bhvit.wording import counted
from searcher.calibration import MOST_ERROR, Calibration
from searcher.numbers import duration_text, percent_text
from searcher.views.console import table

MUCH = 0.05  # of the time with other programs, beyond which they are in what was measured


def calibration_view(result: Calibration, shipped: DeviceProfile, out: Path) -> RenderableType:
    """The machine, a row a coefficient, the errors on candidates that were kept from the fit, and the file, if any."""
    p = result.profile
    head = Text.assemble(
        (p.machine, "bold"),
        f", {p.instruction_set}, {counted(p.threads, 'thread')}: "
        f"{result.candidates} random candidates in {duration_text(result.seconds)}",
    )
    rows = table("coefficient", ("here", "right"), (shipped.name, "right"), "", "what takes that long")
    for name, value in p.coefficients.items():
        word, _, unit = name.rpartition("_")
        rows.add_row(word, plain_decimal(value), plain_decimal(shipped.coefficients[name]), unit, COEFFICIENTS[name])
    kept = (
        f"Predicted and measured, on {result.checked} candidates kept from the fit: median error "
        f"{percent_text(result.median_error)}, worst {percent_text(result.worst_error)}"
    )
    if result.rank_correlation is not None:
        kept += f", rank correlation {result.rank_correlation:.3f}"
    kept += f"; single layers {percent_text(result.layer_error)}."
    parts: list[RenderableType] = [head, "", rows, "", kept]
    if result.others is not None and result.others > MUCH:
        disturbed = (
            f"Other programs had the core for {percent_text(result.others)} of the time: close them, calibrate again."
        )
        parts.append(Text(disturbed, style="bold yellow"))
    if not result.usable:
        return Group(*parts)
    written = f'Written: {out}. In a space file: budget: {{latency: "40 ms", device: {out}}}'
    return Group(*parts, written)


def refusal(result: Calibration, out: Path) -> str:
    """Why the profile was not written, in a line."""
    return (
        f"{out} was not written: the median error is {percent_text(result.median_error)}, and above "
        f"{percent_text(MOST_ERROR)} a profile predicts nothing; close other programs, then calibrate again."
    )


def calibration_json(result: Calibration, shipped: DeviceProfile, out: Path) -> dict[str, Any]:
    """The same as plain data; `file` is null where the profile was not written."""
    p = result.profile
    return {
        "file": str(out) if result.usable else None,
        "machine": p.machine,
        "instruction_set": p.instruction_set,
        "threads": p.threads,
        "date": p.date,
        "runtime": p.runtime,
        "candidates": result.candidates,
        "seconds": result.seconds,
        "other_programs": result.others,
        "coefficients": [
            {"name": name, "value": value, "shipped": shipped.coefficients[name], "meaning": COEFFICIENTS[name]}
            for name, value in p.coefficients.items()
        ],
        "shipped": shipped.name,
        "held_out": {
            "candidates": result.checked,
            "median_error": result.median_error,
            "worst_error": result.worst_error,
            "layer_median_error": result.layer_error,
            "rank_correlation": result.rank_correlation,
        },
    }
