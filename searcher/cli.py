"""The `searcher` command: finds the subcommand, runs it, turns errors into one line and an exit code.

Exit codes: 0 done, 1 the question was answered with no (nothing to show, no candidate trained), 2 the input is wrong,
130 interrupted. Subcommands are imported only when called, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import NoReturn, Protocol, cast

from bhvit.errors import InvalidInput, unknown_name
from searcher import __version__
from searcher.views.fallback import adapt

GROUPS = {
    "run": {
        "search": "run or continue a budget-constrained search",
        "train": "train one given candidate",
        "ablation": "base, + intermediate, + hidden: where width pays",
        "reproduce": "the thesis' tables, beside the published figures",
        "teacher": "fine-tune a teacher for distillation",
        "deploy": "a trained model as checked ONNX and packed files",
    },
    "look": {
        "ls": "the studies in a folder or database: state, trials, best",
        "show": "a study: leaderboard, front, what accuracy depends on",
        "trial": "one trial: precisions layer by layer, cost, curves, history",
        "diff": "two trials: what differs in precision, cost and accuracy",
        "compare": "studies side by side",
        "watch": "a study live: workers, newest results, alerts",
        "plot": "a study drawn: front, history, importance, curves, map",
        "export": "trials as CSV, JSON, Markdown, LaTeX, or as a space file",
    },
    "check": {
        "space": "profile of a search space: size, share within the budget",
        "cost": "per-layer cost of a candidate",
        "data": "known data sets; one of them, fetched where it is absent",
        "bench": "exported models on this machine: time, memory, size, Top-1",
        "sensitivity": "what quantizing each layer alone costs, without training",
        "evaluate": "accuracy of a trial on the test split",
        "calibrate": "how fast this machine runs the packed runtime: a device profile",
        "doctor": "what is wrong with a study, and mending it",
        "completion": "the script that lets your shell complete all this",
    },
}
COMMANDS = {name: summary for group in GROUPS.values() for name, summary in group.items()}
HELP_WIDTH = 100  # columns beyond which text is hard to read
EPILOG = """examples:
  searcher space search_spaces/demo.yaml
  searcher search search_spaces/demo.yaml
  searcher ls
  searcher show runs/demo
  searcher cost --hidden 3 --intermediate 3 --layers 'downsample*=fp16'

`searcher COMMAND --help` explains a command."""


class Command(Protocol):
    """A module of `searcher.commands`: its docstring is the help text."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; the exit code."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are `InvalidInput`, one line with the way to the help."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and exiting."""
        raise InvalidInput(f"{message}; see `{self.prog} --help`.")


class Help(argparse.RawDescriptionHelpFormatter):
    """Fills paragraphs to the terminal's width; leaves lists and examples, whose lines are indented, as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        width = min(width, HELP_WIDTH)
        return "\n\n".join(
            part if "\n " in f"\n{part}" else textwrap.fill(" ".join(part.split()), width)
            for part in text.strip().split("\n\n")
        )


# Before numpy is loaded: the threads of its BLAS spin while they wait, and trainings need the cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main(argv: Sequence[str]) -> int:
    """Run one command line (without the program's name); returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        adapt(stream)  # a terminal without our characters is no reason to fail
    try:
        code = _dispatch(list(argv))
        sys.stdout.flush()
        return code
    except InvalidInput as error:
        print(f"searcher: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output left, as in `searcher show X | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"searcher: {where}{error.strerror or error}; check path, permissions and free space.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("searcher: interrupted.", file=sys.stderr)
        return 130


def entry_point() -> NoReturn:
    """The console script, which the shell also calls to complete a command line."""
    if "_ARGCOMPLETE" in os.environ:
        from searcher.completion import complete

        complete(COMMANDS, lambda name: _parser(name, _command(name)))
    raise SystemExit(main(sys.argv[1:]))


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0 if argv else 2
    if argv[0] in ("-V", "--version"):
        print(f"searcher {__version__}")
        return 0
    name = argv[0]
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    command = _command(name)
    return command.run(_parser(name, command).parse_args(list(_with_dashed_values(argv[1:]))))


def _command(name: str) -> Command:
    return cast(Command, importlib.import_module(f"searcher.commands.{name}"))


def _parser(name: str, command: Command) -> Parser:
    parser = Parser(
        prog=f"searcher {name}",
        description=command.__doc__,
        formatter_class=Help,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    return parser


def _with_dashed_values(words: Sequence[str]) -> Iterator[str]:
    """`--sort -memory` as `--sort=-memory`: argparse would take the value for an option."""
    left = iter(words)
    for word in left:
        value = next(left, None) if word == "--sort" else None
        if value is None:
            yield word
        else:
            yield from (f"{word}={value}",) if value[:1] == "-" != value[1:2] else (word, value)


def _overview() -> str:
    parts = ["\n".join([f"{group}:", *(f"  {n:<12} {about}" for n, about in c.items())]) for group, c in GROUPS.items()]
    head = "usage: searcher COMMAND ...\n\nMixed-precision layer search for binary hybrid vision transformers."
    return "\n\n".join([head, *parts, EPILOG])
