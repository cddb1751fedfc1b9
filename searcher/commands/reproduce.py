r"""The thesis' tables: train (or resume) every row with every seed, print the result beside the published figures.

TABLE is table3 (width against precision), table4 (hidden against intermediate width, both orders of adding them, and
hidden alone at the OPs of intermediate alone) or width-sweep. A model that several rows or tables have is trained once
for the same setting and seed, and so is its full-precision parent. Runs are studies: the same command continues them.

Examples:
  searcher reproduce table3 --dry-run   # the plan, and how long it takes
  searcher reproduce table3 --data oxford_iiit_pet:data --test  # GPU, weeks
  searcher reproduce table4 --data trashnet_mini --recipe demo \
      --model search_spaces/demo.yaml --factor 2 --seeds 2
  searcher reproduce table3 --recipe pets_short --epochs 12+8 \
      --model search_spaces/pets_short.yaml --rows fp,w1,w2
  searcher reproduce table4 --report --format latex --out table4.tex
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from bhvit.errors import InvalidInput, unknown_name
from searcher.checkpoint_files import WARM_STARTS
from searcher.commands.arguments import number
from searcher.commands.running import add_run_arguments, check_device, run_study
from searcher.commands.setting import add_setting, rows_from, setting_from
from searcher.commands.testing import evaluated_once
from searcher.coordinator import Ended
from searcher.executors.processes import WorkerPool
from searcher.files import require_writable, write_text
from searcher.numbers import duration_text
from searcher.preflight import check_compiler, check_processes, check_trainable
from searcher.reproduction_report import Report, report_of
from searcher.reproduction_runs import PlanPace, Run, Setting, plan_runs
from searcher.reproductions import PUBLISHED_FACTOR, REPRODUCTIONS, reproduction_named, require_fitting
from searcher.views.console import console, plain_text
from searcher.views.exports import as_csv, as_json, as_latex
from searcher.views.reproduction import report_view

FORMATS: dict[str, Callable[[Report], str]] = {"csv": as_csv, "latex": as_latex, "json": as_json}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("table", metavar="TABLE", help=", ".join(REPRODUCTIONS))
    parser.add_argument("--rows", metavar="LIST", help="only these rows, by number or key, such as 1,2 or fp,w1")
    parser.add_argument(
        "--factor", type=number, default=PUBLISHED_FACTOR, metavar="X", help="widening of table4 (default: 3)"
    )
    parser.add_argument("--test", action="store_true", help="read the test split too, once a run, and compare that")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and the estimated time, train nothing")
    parser.add_argument("--report", action="store_true", help="print what is finished, train nothing")
    parser.add_argument("--format", choices=("text", *FORMATS), default="text", help="of the table (default: text)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table to FILE as well, in --format")
    add_setting(parser)
    add_run_arguments(parser, named_after="model, data, recipe and epochs")


def run(args: argparse.Namespace) -> int:
    """Train what is left and print the table, or only say what there is."""
    if args.table not in REPRODUCTIONS:
        raise unknown_name("reproduction", args.table, REPRODUCTIONS)
    _check_output(args)
    setting = setting_from(args, fetch=not (args.dry_run or args.report))
    table = reproduction_named(args.table, setting.model.family, setting.base, args.factor)
    rows = rows_from(args.rows, table.rows)
    require_fitting(table.name, rows, setting.base)
    runs = plan_runs(setting, rows, args.runs / (args.study or setting.name))

    def report() -> Report:
        return report_of(table, setting, rows, runs, "test" if args.test else "val")

    report()  # a folder of another question is refused before anything is trained
    if args.report:
        _output(report(), args)
        return 0
    _check_trainable(setting, runs[0], args)
    if args.dry_run:
        from searcher.commands.dry_run import show_plan

        marked = [note.text for note in table.notes if note.mark and any(note.mark in row.label for row in rows)]
        show_plan(setting, runs, args.runs / WARM_STARTS, marked)
        return 0
    with WorkerPool() as pool:
        interrupted = _train(setting, runs, report, args, pool)
    _output(report(), args)
    if interrupted:
        console().print("Interrupted; nothing is lost, the same command goes on.", style="bold")
        return 130
    return 0 if any(run.accuracy is not None for run in runs) else 1


def _check_output(args: argparse.Namespace) -> None:
    if args.dry_run and args.report:
        raise InvalidInput("--dry-run and --report exclude each other, but both are given; use one of them.")
    if args.dry_run and (args.format != "text" or args.out):
        raise InvalidInput("--format and --out are for the table, but --dry-run prints the plan; leave them out.")
    if args.format != "text" and not (args.report or args.out):
        raise InvalidInput(
            f"--format {args.format} needs --report or --out FILE, because training prints its progress; add one."
        )
    if args.out is not None:
        require_writable(args.out)


def _check_trainable(setting: Setting, run: Run, args: argparse.Namespace) -> None:
    """Raise `InvalidInput` where the plan could not be carried out; a dry run needs no data."""
    processes = 1 if args.processes is None else args.processes
    if args.dry_run:
        check_processes(setting.recipe, processes)
        check_compiler(setting.recipe)
    else:
        check_trainable(run.space, processes)
    check_device(args.device, processes)


def _train(
    setting: Setting, runs: Sequence[Run], report: Callable[[], Report], args: argparse.Namespace, pool: WorkerPool
) -> bool:
    """Finish every run in turn; whether it was interrupted."""
    out = console()
    left = [run for run in runs if not run.finished]
    pace = PlanPace(runs)
    if left:
        out.print(report_view(report()))
        out.print()
    for i, run in enumerate(runs):
        if run in left:
            seeds = f"seed {setting.seeds.index(run.seed) + 1} of {len(setting.seeds)}"
            out.print(f"run {i + 1} of {len(runs)} ({seeds}): {run.space.name}{_left_text(pace)}", style="bold")
            summary = run_study(
                run.space,
                run.folder.path,
                args.device,
                processes=args.processes,
                warm_starts=args.runs / WARM_STARTS,
                pool=pool,
            )
            if summary.ended is Ended.INTERRUPTED:
                return True
            pace.finish(run)
        record = run.record
        if args.test and record is not None and record.outcome.trained:
            evaluated_once(run.folder, record, args.device)
        last_of_seed = i + 1 < len(runs) and runs[i + 1].seed != run.seed
        if last_of_seed and run in left:
            out.print(report_view(report()))
            out.print()
    return False


def _left_text(pace: PlanPace) -> str:
    return "" if pace.remaining is None else f", about {duration_text(pace.remaining)} left in all"


def _output(report: Report, args: argparse.Namespace) -> None:
    """Print the table; with --out it is printed as text and written in --format."""
    if args.format == "text" or args.out is not None:
        console().print(report_view(report))
    else:
        print(FORMATS[args.format](report), end="")
    if args.out is not None:
        write_text(args.out, FORMATS.get(args.format, _as_text)(report))
        console().print(f"Written to {args.out}.")


def _as_text(report: Report) -> str:
    return plain_text(report_view(report))
