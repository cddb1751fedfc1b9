"""What the watcher of a study has chosen to see, and what the keys change of it; no rich."""

from __future__ import annotations

from dataclasses import dataclass

from bhvit.errors import InvalidInput
from searcher.watched_trials import WatchedTrials
from searcher.watching import WatchedStudy

KEYS = {
    "up down, k j": "choose a trial; scroll",
    "PgUp PgDn": "a page at once; Home End, g G: first and last",
    "Enter": "open the chosen trial",
    "Esc": "back; forget the choice, then the filter",
    "s, r": "sort by the next of newest, accuracy, memory, ops, trial; reverse",
    "/": "list only trials with, say, hidden>=2 and downsample*==fp16",
    "p": "pause: the display stands still, the search goes on",
    "?": "this help",
    "q": "quit: the search goes on",
}
UP, DOWN = ("up", "k"), ("down", "j")


@dataclass
class Prompt:
    """The line in which a filter is written, and what is wrong with it."""

    text: str
    error: str = ""


class WatchUI:
    """The state of the keys; `page` and `scroll_limit` are how much the last frame could show of what it lists.

    `chosen` is the number of the chosen trial, `opened` that of the one whose view is open, `paused` since when
    (seconds since 1970).
    """

    def __init__(self, study: WatchedStudy) -> None:
        self.study, self.trials = study, WatchedTrials(study)
        self.chosen: int | None = None
        self.opened: int | None = None
        self.scroll = 0
        self.prompt: Prompt | None = None
        self.help = False
        self.paused: float | None = None
        self.page, self.scroll_limit = 10, 0

    @property
    def choices(self) -> list[int]:
        """The trials that can be chosen, as they stand on the screen: those under way, then the listed ones."""
        return [worker.number for worker in self.study.workers] + self.trials.numbers

    def forget_removed(self) -> None:
        """Close the trial that is open, and give up the choice, where the trial is not there any more."""
        if self.opened is not None and self.opened not in self.study.records:
            self.opened, self.scroll = None, 0
        if self.chosen is not None and self.chosen not in self.study.records:
            self.chosen = None

    def press(self, key: str, now: float) -> bool:
        """Take a key (a character, or a name such as `up`); whether to go on."""
        if self.prompt is not None:
            self._write(self.prompt, key)
        elif key == "q":
            return False
        elif key == "p":
            self.paused = now if self.paused is None else None
        elif key == "esc":
            self._back()
        elif key == "?":
            self.help = not self.help
        elif self.help or self.opened is not None:
            self.scroll = self._moved(self.scroll, self.scroll_limit + 1, key)
        else:
            self._list(key)
        return True

    def _list(self, key: str) -> None:
        if key == "s":
            self.trials.next_sort()
        elif key == "r":
            self.trials.reverse = not self.trials.reverse
        elif key == "/":
            self.prompt = Prompt(self.trials.where)
        elif key == "enter":
            self.opened, self.scroll = self.chosen, 0
        else:
            self._choose(key)

    def _choose(self, key: str) -> None:
        """Move the choice; where there is none, it begins at the top of the screen."""
        choices = self.choices
        if self.chosen in choices:
            self.chosen = choices[self._moved(choices.index(self.chosen), len(choices), key)]
        elif choices and self._moved(1, 3, key) != 1:
            self.chosen = choices[-1 if key in ("end", "G") else 0]

    def _moved(self, place: int, count: int, key: str) -> int:
        """The place in a list of `count` to which `key` leads from `place`."""
        page = max(1, self.page - 1)
        by = {"pageup": -page, "pagedown": page, " ": page, "home": -count, "g": -count, "end": count, "G": count}
        by |= dict.fromkeys(UP, -1) | dict.fromkeys(DOWN, 1)
        return max(0, min(place + by.get(key, 0), count - 1))

    def _back(self) -> None:
        if self.help:
            self.help = False
        elif self.opened is not None:
            self.opened, self.scroll = None, 0
        elif self.chosen is not None:
            self.chosen = None
        else:
            self.trials.filter("")

    def _write(self, prompt: Prompt, key: str) -> None:
        """A key of the line in which the filter is written."""
        prompt.error = ""
        if key == "esc":
            self.prompt = None
        elif key == "backspace":
            prompt.text = prompt.text[:-1]
        elif key == "ctrl-u":
            prompt.text = ""
        elif len(key) == 1:
            prompt.text += key
        elif key == "enter":
            try:
                self.trials.filter(prompt.text.strip())
                self.prompt = None
            except InvalidInput as error:
                prompt.error = str(error).removeprefix("--where: ")
