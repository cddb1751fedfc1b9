"""What the shell offers after Tab: commands, options, choices, studies, trials and files, through argcomplete.

Only the parser of the command on the line is built, so that an answer takes a fifth to a third of a second.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from argcomplete.completers import BaseCompleter
from argcomplete.finders import CompletionFinder

Values: TypeAlias = Callable[[str, argparse.Namespace], Iterable[str]]
"""What may stand for an argument, from what is typed of it and the arguments before it."""

SPACE_SUFFIXES = (".yaml", ".yml")
DATABASE_SUFFIXES = (".db", ".sqlite", ".sqlite3", ".log")
SPACE_FILE = "space.yaml"  # that makes a folder a study (searcher.study_folder)


def complete(
    summaries: Mapping[str, str],
    parser_of: Callable[[str], argparse.ArgumentParser],
    finder: CompletionFinder | None = None,
) -> None:
    """Answer the shell that asks through the environment, by argcomplete's protocol, and exit.

    `summaries` are the commands with a line on each, `parser_of` makes the parser of one of them.
    """
    words = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT", "0") or 0)].split(" ")
    begun = [word for word in words[:-1] if word][1:2]  # the command, once it has been typed to its end
    parser = argparse.ArgumentParser(prog="searcher", add_help=not begun)
    if begun and begun[0] in summaries:
        os.environ["_ARGCOMPLETE"] = "2"  # words of the line before the arguments
        parser = parser_of(begun[0])
        for action in parser._actions:
            _teach(action)
    elif not begun:
        parser.add_argument("--version", action="store_true", help="print the version")
        commands = parser.add_subparsers()
        for name, summary in summaries.items():
            commands.add_parser(name, help=summary)
    (finder or Finder())(parser, default_completer=_Nothing())


class Finder(CompletionFinder):
    """Offers options only where a dash is typed, or nothing else may stand."""

    def collect_completions(self, *args: Any) -> list[str]:
        found: list[str] = super().collect_completions(*args)
        values = [text for text in found if not text.startswith("-")]
        return found if args[2].startswith("-") or not values else values


class _Nothing(BaseCompleter):
    """Of arguments such as numbers."""

    def __call__(self, **_: Any) -> Iterable[str]:
        return ()


def _teach(action: argparse.Action) -> None:
    """Give an argument of a command its completer, by what its placeholder and name say that it is."""
    values = _values_of(action)
    if values is not None and not action.choices:
        action.completer = (  # type: ignore[attr-defined]
            lambda prefix, parsed_args, **_: [v for v in values(prefix, parsed_args) if v.startswith(prefix)]
        )


def _values_of(action: argparse.Action) -> Values | None:
    if action.dest in BY_NAME:
        return BY_NAME[action.dest]
    if not action.option_strings:
        metavars = action.metavar if isinstance(action.metavar, tuple) else (action.metavar,)
        return next((BY_PLACEHOLDER[m] for m in metavars if m in BY_PLACEHOLDER), None)
    return {"FILE": _files, "DIR": _folders, "STUDY": _studies, "FIELDS": _orders, "FIELD": _watch_orders}.get(
        str(action.metavar)
    )


def _studies(prefix: str, args: argparse.Namespace) -> Iterable[str]:
    """Names in the folder of all studies; paths where one is being typed, which end at a study."""
    runs = Path(getattr(args, "runs", None) or "runs")
    names = [name for name in _entries(runs) if _is_study(runs / name)]
    matching = [name for name in names if name.startswith(prefix)]
    if matching or _is_study(Path(os.path.expanduser(prefix.rpartition("/")[0] or "."))):
        return matching
    paths = _files(prefix, args, DATABASE_SUFFIXES)
    return [path.removesuffix("/") if _is_study(Path(os.path.expanduser(path))) else path for path in paths]


def _is_study(folder: Path) -> bool:
    return os.path.exists(folder / SPACE_FILE)


def _trials(prefix: str, args: argparse.Namespace) -> Iterable[str]:
    """Numbers of the study's trials."""
    study = getattr(args, "study", None) or ""
    places = (Path(str(study)), Path(getattr(args, "runs", None) or "runs") / str(study))
    numbers = (name.partition("-")[0] for place in places for name in _entries(place / "trials"))
    return map(str, sorted({int(number) for number in numbers if number.isdigit()}))


def _columns(prefix: str, args: argparse.Namespace) -> Iterable[str]:
    """Names of columns, after those and a comma that are typed already."""
    begun = prefix[: prefix.rfind(",") + 1]
    return [f"{begun}{name}" for name in ("help", *_fields(args)) if name != "help" or not begun]


def _orders(prefix: str, args: argparse.Namespace) -> Iterable[str]:
    """Fields to sort by, after a dash where one is typed."""
    begun = prefix[: max(prefix.rfind(","), prefix.rfind("-")) + 1]
    return [f"{begun}{name}" for name in _fields(args)]


def _watch_orders(prefix: str, args: argparse.Namespace) -> Iterable[str]:
    from searcher.watched_trials import SORTS

    return SORTS


def _conditions(prefix: str, args: argparse.Namespace) -> Iterable[str]:
    """Fields at the beginning of a comparison."""
    begun = prefix[: max(prefix.rfind(character) for character in " (") + 1]
    return [f"{begun}{name}" for name in _fields(args)]


def _fields(args: argparse.Namespace) -> Iterable[str]:
    """Of the study on the line; none where there is no such study, or one that cannot be read."""
    from bhvit.errors import InvalidInput
    from searcher.commands.studies import found_study
    from searcher.trial_fields import TrialFields

    study, runs = getattr(args, "study", None), getattr(args, "runs", None)
    folder = found_study(str(study), Path(runs or "runs")) if study else None
    try:
        return () if folder is None else TrialFields(folder.space()).names
    except InvalidInput:
        return ()


def _space_files(prefix: str, args: argparse.Namespace) -> Iterable[str]:
    return _files(prefix, args, SPACE_SUFFIXES)


def _storages(prefix: str, args: argparse.Namespace) -> Iterable[str]:
    return _files(prefix, args, DATABASE_SUFFIXES)


def _folders(prefix: str, args: argparse.Namespace) -> Iterable[str]:
    return _files(prefix, args, ("/",))


def _files(prefix: str, args: argparse.Namespace, suffixes: tuple[str, ...] = ("",)) -> Iterable[str]:
    """Paths that begin as `prefix`: folders, with a slash, and files with one of these suffixes."""
    above, slash, begun = prefix.rpartition("/")
    place = Path(os.path.expanduser(f"{above}{slash}") or ".")
    for name in _entries(place):
        if name.startswith(".") and not begun.startswith("."):
            continue
        folder = (place / name).is_dir()
        if folder or name.endswith(suffixes):
            yield f"{above}{slash}{name}{'/' if folder else ''}"


def _entries(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _data(prefix: str, args: argparse.Namespace) -> Iterable[str]:
    from searcher.datasets.config import DATASETS

    return [*DATASETS, *_space_files(prefix, args)]


def _reproductions(prefix: str, args: argparse.Namespace) -> Iterable[str]:
    from searcher.reproductions import REPRODUCTIONS

    return REPRODUCTIONS


def _precisions(prefix: str, args: argparse.Namespace) -> Iterable[str]:
    from bhvit.precision import PRECISIONS

    return PRECISIONS


def _presets(prefix: str, args: argparse.Namespace) -> Iterable[str]:
    from bhvit.families import DEFAULT_FAMILY, family_named

    return family_named(args.family or DEFAULT_FAMILY).presets


def _families(prefix: str, args: argparse.Namespace) -> Iterable[str]:
    from bhvit.families import FAMILIES

    return FAMILIES


def _profiles(prefix: str, args: argparse.Namespace) -> Iterable[str]:
    from bhvit.device_file import shipped_devices

    return (*shipped_devices(), *_files(prefix, args))


def _settings(prefix: str, args: argparse.Namespace) -> Iterable[str]:
    """Variables of the space file on the line, or choices of the one that is typed; none where it is unreadable."""
    from bhvit.errors import InvalidInput
    from searcher.space import load_space

    name, sign, _ = prefix.partition("=")
    try:
        variables = load_space(str(getattr(args, "file", None) or getattr(args, "space", None))).variables
    except InvalidInput:
        return ()
    if not sign:
        return [f"{variable.name}=" for variable in variables]
    return dict.fromkeys(f"{name}={choice}" for v in variables if v.covered_by(name) for choice in v.choices)


def _fixed(*values: str) -> Values:
    return lambda prefix, args: values


BY_NAME: Mapping[str, Values] = {
    "study": _studies,
    "studies": _studies,
    "trial": _trials,
    "before": _trials,
    "after": _trials,
    "columns": _columns,
    "where": _conditions,
    "precision": _precisions,
    "preset": _presets,
    "family": _families,
    "device": _fixed("auto", "cpu", "cuda", "cuda:0"),
    "profile": _profiles,
    "settings": _settings,
    "budget": _fixed("memory=", "ops=", "latency=", "device="),
}
BY_PLACEHOLDER: Mapping[str | None, Values] = {
    "STUDY": _studies,
    "FILE": _space_files,
    "DIR": _folders,
    "DIR|URL": _storages,
    "FILE|NAME": _data,
    "TABLE": _reproductions,
}
