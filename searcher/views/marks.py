"""The words, marks and colours that mean the same in every view; `docs/terminal.md` has the legend.

Colour only repeats what a mark or a word says. Where it fills a cell both of its colours are set, so that it reads on a
dark and on a light background; elsewhere the first eight colours of the terminal's own palette are used.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.style import Style
from rich.text import Text

from bhvit.precision import PRECISIONS, Precision
from searcher.records import Outcome
from searcher.snapshot import State

BAR = "█"


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
WITHIN, BEYOND = Mark("✓", "green"), Mark("↑", "yellow")  # the budget

_SCALE = ("white on blue", "black on cyan", "black on green", "black on yellow", "white on red")  # few bits to many


def precision_cell(precision: Precision) -> Text:
    """Two columns that say a layer's weight bits (` 1`, ` 4`, `16`), filled with the precision's colour."""
    return Text(f"{precision.weight_bits:>2}", style=precision_style(precision))


def precision_style(precision: Precision) -> Style:
    """The colours of a precision's cell: its place among all precisions, from few bits to many."""
    order = sorted(PRECISIONS.values(), key=lambda p: (p.weight_bits, p.activation_bits))
    place = order.index(precision) / max(1, len(order) - 1)
    return Style.parse(_SCALE[round(place * (len(_SCALE) - 1))])
