"""The words, marks and colours that mean the same in every view; `docs/terminal.md` has the legend.

Colour only repeats what a mark or a word says. Where it fills a cell both of its colours are set, so that it reads on a
dark and on a light background; elsewhere the first eight colours of the terminal's own palette are used.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.style import Style
from rich.text import Text

from bhvit.precision import PRECISIONS, Precision
from searcher.charts.chart import Meaning, Role
from searcher.records import Outcome
from searcher.snapshot import State

BAR, UNFILLED = "█", "░"


@dataclass(frozen=True)
class Mark:
    """One character and a style (rich's notation) for one meaning."""

    character: str
    style: str

    def text(self, words: str = "") -> Text:
        """The mark, followed by `words` in its style."""
        return Text(f"{self.character} {words}".rstrip(), style=self.style)


OUTCOMES: dict[Outcome, Mark] = {
    Outcome.WAITING: Mark("·", "dim"),
    Outcome.RUNNING: Mark("▶", "cyan"),
    Outcome.COMPLETE: Mark("●", "green"),
    Outcome.STOPPED: Mark("~", "blue"),
    Outcome.OVER_BUDGET: Mark("↑", "yellow"),
    Outcome.DIVERGED: Mark("∞", "red"),
    Outcome.OUT_OF_MEMORY: Mark("!", "red"),
    Outcome.CRASHED: Mark("×", "bold red"),
    Outcome.INTERRUPTED: Mark("‖", "yellow"),
}
STATES: dict[State, Mark] = {
    State.EMPTY: Mark("·", "dim"),
    State.RUNNING: Mark("▶", "cyan"),
    State.INTERRUPTED: Mark("‖", "yellow"),
    State.DONE: Mark("●", "green"),
}
UNREADABLE = Mark("?", "yellow")  # a study that is damaged, or of a later version
FRONT = Mark("◆", "magenta")  # on the Pareto front
BEST = Mark("★", "bold")  # the most accurate within the budget
PARENT = Mark("□", "cyan")  # a full-precision network of the reference's widths
LOST = Mark("†", "yellow")  # a worker
ALERT = Mark("▲", "bold red")  # something that should not be so
CHOSEN = Mark(">", "reverse")  # by the keys
WITHIN, BEYOND = Mark("✓", "green"), Mark("↑", "yellow")  # the budget
RANKS = tuple(  # lines of several trials, best first
    Mark(character, ("bold", "green", "cyan", "magenta", "yellow")[i % 5])
    for i, character in enumerate("123456789abcdefghijk")
)
LEVELS = tuple(Mark(c, s) for c, s in zip("░▒▓█", ("blue", "cyan", "green", "yellow"), strict=True))  # low to high

ROLES: dict[Role, Mark] = {
    Role.FRONT: FRONT,
    Role.BEST: BEST,
    Role.BEST_SO_FAR: Mark("⠒", "bold"),
    Role.PARENT: PARENT,
    Role.LIMIT: Mark("┊", "yellow"),
    Role.FP: Mark("⠄", "cyan"),
    Role.QAT: Mark("⠒", "green"),
    Role.SWITCH: Mark("┊", "dim"),
}

_SCALE = (  # few bits to many
    *("white on blue", "white on magenta", "black on white", "black on cyan"),
    *("black on green", "black on yellow", "white on red"),
)
_HEAT = ("white on grey15", "white on grey30", "white on grey42", "black on grey66", "black on grey89")


def mark_of(role: Meaning, index: int = 0) -> Mark:
    """The mark of what a series of a chart stands for; `index` is its place among those of the same role."""
    if isinstance(role, Outcome):
        return OUTCOMES[role]
    if role is Role.RANK:
        return RANKS[index]
    return LEVELS[index] if role is Role.LEVEL else ROLES[role]


def trial_marks(outcome: Outcome, best: bool = False, front: bool = False) -> Text:
    """What stands before a trial in every list: its outcome unless it is complete, then the best, then the front."""
    found = [OUTCOMES[outcome]] if outcome is not Outcome.COMPLETE else []
    found += [mark for mark, holds in ((BEST, best), (FRONT, front)) if holds]
    return Text.assemble(*((mark.character, mark.style) for mark in found))


def heat_style(share: float) -> Style:
    """The colours of a heat map's cell, from low (0) to high (1)."""
    return Style.parse(_HEAT[min(int(share * len(_HEAT)), len(_HEAT) - 1)])


def precision_cell(precision: Precision) -> Text:
    """Two columns that say a layer's weight bits (` 1`, ` 4`, `16`), filled with the precision's colour.

    Several bits against signs say so (`2s`), beside as many against several (` 2`).
    """
    signs = "s" if precision.takes_signs and precision.weight_bits > 1 else ""
    return Text(f"{precision.weight_bits}{signs}".rjust(2), style=precision_style(precision))


def precision_style(precision: Precision) -> Style:
    """The colours of a precision's cell: its place among all precisions, from few bits to many."""
    order = sorted(PRECISIONS.values(), key=lambda p: p.bits)
    place = order.index(precision) / max(1, len(order) - 1)
    return Style.parse(_SCALE[round(place * (len(_SCALE) - 1))])
