"""Watch a study: who trains what, how far it is, newest results, what goes wrong.

In a terminal this fills the screen, live; `?` shows the keys: open a trial,
sort, filter, pause, quit. Nothing that is pressed touches the search. Where
output (or input) is no terminal, a line an event is printed until the search
ends. A study that nobody searches is shown as it stands. Reads only.

Exit code: 0; outside of a live screen 1 where the study has no trial yet, or
the search that is followed as a log was killed; 130 after Ctrl-C.

Examples:
  searcher watch runs/demo
  searcher watch demo --where 'hidden>=2 and accuracy>60%' --sort accuracy
  searcher watch demo --once
  searcher watch demo | tee watch.log
  searcher watch demo --json
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from rich.text import Text

from bhvit.errors import InvalidInput, unknown_name
from searcher.commands.arguments import count
from searcher.commands.program import program
from searcher.commands.selecting import add_where_argument
from searcher.commands.studies import add_study_arguments, study_of
from searcher.views.console import console, print_json
from searcher.views.terminal import Terminal
from searcher.views.watch import WatchView
from searcher.views.watch_json import watch_json
from searcher.views.watch_log import follow
from searcher.views.watch_ui import WatchUI
from searcher.watched_trials import NEWEST, SORTS
from searcher.watching import WatchedStudy

REFRESH_SECONDS = 1.0
PIPED_ROWS = 20  # trials that --once lists where there is no screen to be filled


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_study_arguments(parser)
    add_where_argument(parser)
    parser.add_argument("--sort", default=NEWEST, metavar="FIELD", help=f"sort by {', '.join(SORTS)}")
    parser.add_argument("--once", action="store_true", help=f"one screen ({PIPED_ROWS} trials in a pipe), and end")
    parser.add_argument("--top", type=count, metavar="N", help="list N trials with --once or --json")
    parser.add_argument("--json", action="store_true", help="the present state as JSON, and end")


def run(args: argparse.Namespace) -> int:
    """Watch."""
    study = WatchedStudy(study_of(args))
    ui = _chosen(study, args)
    if args.json:
        print_json("watch", watch_json(ui, time.time(), args.top))
    elif args.once:
        out, view, now = console(), WatchView(ui), time.time()
        if out.is_terminal:
            lines = view.once(now, out.width, out.height - 1, args.top)  # the shell writes its prompt below
        else:
            lines = view.plain(now, PIPED_ROWS if args.top is None else args.top)
        out.print(Text("\n").join(lines), soft_wrap=True)
    elif args.top is not None:
        raise InvalidInput("--top says how many trials --once or --json list; add one of these.")
    elif _interactive():
        return _live(ui)
    else:
        if args.where or args.sort != NEWEST:
            raise InvalidInput("--where and --sort need a screen, but this is no terminal; add --once or --json.")
        for line in follow(study, REFRESH_SECONDS):
            print(line, flush=True)
        return 0 if study.records and not study.abandoned else 1
    return 0 if study.records else 1


def _chosen(study: WatchedStudy, args: argparse.Namespace) -> WatchUI:
    """The keys' state, with what the options choose."""
    ui = WatchUI(study)
    if args.sort not in ui.trials.sorts:
        raise unknown_name("field in --sort", args.sort, ui.trials.sorts)
    ui.trials.sort = args.sort
    ui.trials.filter(args.where or "")
    return ui


def _interactive() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _live(ui: WatchUI) -> int:
    """Draw and take keys until `q`; the study is looked at once a second, keys are answered at once."""
    view, out = WatchView(ui, program()), console()
    with Terminal(out) as terminal:
        look_at = time.monotonic() + REFRESH_SECONDS
        while True:
            try:
                frame = view.frame(out, *terminal.size, time.time())
                ui.page, ui.scroll_limit = frame.page, frame.scroll_limit
                terminal.draw(frame.lines)
                key = terminal.key(max(0.0, look_at - time.monotonic()))
            except EOFError:  # nobody sits there any more
                return 0
            if key is not None and not ui.press(key, time.time()):
                return 0
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + REFRESH_SECONDS
                if ui.paused is None:
                    ui.study.refresh()
