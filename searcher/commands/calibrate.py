"""How fast this machine runs each kind of work of the packed runtime: a device profile, for budgets in milliseconds.

Random candidates of the full space (any width, any precision in any layer) are run with the packed runtime and timed
layer by layer; the few coefficients of a profile are fitted to those times. A fifth of the candidates, at least five,
is kept from the fit, to see how well it predicts. Close other programs first: what they take is measured too. Where the
median error is above 25 %, no profile is written, and the exit code is 1.

The profile is a YAML file that can be read and edited. Those that come with searcher: avx512, avx2, rpi5.

Examples:
  searcher calibrate
  searcher calibrate --out devices/laptop.yaml --threads 2
  searcher calibrate --isa avx2 --quick --overwrite

Then, in a space file:
  budget: {latency: "40 ms", device: devices/mine.yaml}
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

from bhvit.device_file import SHIPPED, device_yaml, load_device, shipped_devices
from bhvit.device_profile import INSTRUCTION_SETS, DeviceProfile
from bhvit.errors import InvalidInput
from searcher import __version__
from searcher.calibration import LEAST_CANDIDATES, Timed, calibrated, timed_candidates
from searcher.files import require_writable, write_text
from searcher.views.calibration import calibration_json, calibration_view, refusal
from searcher.views.console import console, print_json
from searcher.views.training import LiveTraining

SECONDS, QUICK_SECONDS = 140.0, 25.0
SEED = 0
COMPILED = tuple(name for name in INSTRUCTION_SETS if name != "numpy")
DEFAULT_OUT = Path("devices/mine.yaml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, metavar="FILE.yaml", help=f"the profile (default: {DEFAULT_OUT})"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a profile that FILE.yaml holds")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of the runtime (default: 1)")
    names = ", ".join(COMPILED)
    parser.add_argument("--isa", metavar="NAME", help=f"instruction set: {names} (default: the best of this machine)")
    parser.add_argument("--quick", action="store_true", help="half a minute instead of two and a half, less exact")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure, fit, write the profile, print it beside the shipped one."""
    from searcher.runtime_timing import LayerTimes, machine_name, resolved_instruction_set

    if args.threads < 1:
        raise InvalidInput(f"--threads must be at least 1, but it is {args.threads}.")
    require_place(args.out, args.overwrite)
    instruction_set = resolved_instruction_set(args.isa)
    if instruction_set == "numpy":
        raise InvalidInput(
            f"calibrate measures {', '.join(COMPILED)}, but the runtime would use numpy; leave out --isa numpy and "
            "BHVIT_RUNTIME_ISA, or install a build with the compiled runtime."
        )
    shipped = shipped_profile(instruction_set)
    template = replace(
        shipped,
        name=args.out.stem,
        description="measured with `searcher calibrate`",
        machine=machine_name(),
        instruction_set=instruction_set,
        threads=args.threads,
        estimated=False,
        date=date.today().isoformat(),
        runtime=__version__,
    )
    start, timed = time.monotonic(), list[Timed]()
    measure = LayerTimes(args.threads, instruction_set)
    seconds = QUICK_SECONDS if args.quick else SECONDS
    with LiveTraining(console(error=args.json), 1, unit="calibration") as live:
        for one in timed_candidates(measure, SEED, seconds):
            timed.append(one)
            done = min(len(timed) / LEAST_CANDIDATES, (time.monotonic() - start) / seconds, 1.0)
            live.on_step("", 1, round(1000 * done), 1000)
    others = measure.others if args.threads == 1 else None  # the threads' waiting looks like other programs
    result = calibrated(timed, template, time.monotonic() - start, others)
    if result.usable:
        write_text(args.out, device_yaml(result.profile))
    if args.json:
        print_json("calibrate", calibration_json(result, shipped, args.out))
    else:
        console().print(calibration_view(result, shipped, args.out))
    if not result.usable:
        print(f"searcher: {refusal(result, args.out)}", file=sys.stderr)
    return 0 if result.usable else 1


def require_place(out: Path, overwrite: bool) -> None:
    """Raise `InvalidInput` where no profile can be written to `out`, or something else would be lost."""
    if out.suffix not in (".yaml", ".yml"):
        raise InvalidInput(f"--out must be a YAML file, but it is {out}; let its name end in .yaml.")
    made = out == DEFAULT_OUT and not out.parent.exists()  # that folder is made when the profile is written
    folder = out.parent.parent if made else out.parent
    require_writable(folder / out.name)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{out.name}.{'-' * 32}"):  # as long as `write_text`'s
            pass
    except OSError as error:
        raise InvalidInput(f"--out must be a file that you can write, but {out}: {error.strerror}.") from error
    if not out.exists():
        return
    if out.resolve().parent == SHIPPED.resolve():
        raise InvalidInput(f"--out must be a file of your own, but {out} comes with searcher; name another one.")
    try:
        load_device(out.absolute())
    except InvalidInput as error:
        raise InvalidInput(f"--out must be a new file or a device profile, but {error} Name another one.") from error
    if not overwrite:
        raise InvalidInput(f"--out must be a new file, but {out} exists; add --overwrite, or name another one.")


def shipped_profile(instruction_set: str) -> DeviceProfile:
    """The shipped profile of this instruction set; that of avx2 for those without one."""
    profiles = [load_device(name) for name in shipped_devices()]
    return next((p for p in profiles if p.instruction_set == instruction_set), load_device("avx2"))
