"""`docs/terminal.md` has the one legend of all views: every mark, key and precision in it, as the code has them."""

import re
from pathlib import Path

import pytest

from bhvit.precision import PRECISIONS
from searcher.cli import GROUPS
from searcher.records import Outcome
from searcher.views import marks
from searcher.views.fallback import ASCII
from searcher.views.watch_ui import KEYS

LEGEND = (Path(__file__).parents[2] / "docs" / "terminal.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in LEGEND.splitlines() if line.startswith("| `")]
TRIALS = {row[0].strip("`"): row[1] for row in ROWS if len(row) == 5}
STUDIES = {row[3].strip("`"): row[4] for row in ROWS if len(row) == 5}


@pytest.mark.parametrize("outcome", list(Outcome))
def test_outcome_is_explained_beside_its_mark(outcome: Outcome) -> None:
    assert TRIALS[marks.OUTCOMES[outcome].character].startswith(outcome.value)


def test_state_and_other_marks_are_explained_beside_them() -> None:
    for state, mark in marks.STATES.items():
        assert STUDIES[mark.character].startswith(state.value)
    others = {"best": marks.BEST, "Pareto": marks.FRONT, "full-precision": marks.PARENT, "alert": marks.ALERT}
    for word, mark in {**others, "unreadable": marks.UNREADABLE, "within": marks.WITHIN}.items():
        assert word in STUDIES[mark.character]
    assert "lost" in TRIALS[marks.LOST.character]


def test_no_two_meanings_share_a_mark() -> None:
    outcomes = [mark.character for mark in marks.OUTCOMES.values()]
    assert len(set(outcomes)) == len(outcomes)
    single = [marks.FRONT, marks.BEST, marks.PARENT, marks.LOST, marks.ALERT, marks.WITHIN, marks.UNREADABLE]
    characters = [mark.character for mark in single]
    assert len(set(characters)) == len(characters)
    assert not set(characters) & set(outcomes)


def test_every_mark_has_an_ascii_character_of_its_own_among_outcomes() -> None:
    listed = [*marks.OUTCOMES.values(), *marks.STATES.values(), *marks.ROLES.values(), *marks.LEVELS, marks.LOST]
    single = [marks.ALERT, marks.WITHIN, marks.BEYOND, marks.UNREADABLE, marks.CHOSEN, *marks.RANKS]
    for mark in (*listed, *single):
        assert mark.character.translate(ASCII).isascii()
    outcomes = [mark.character.translate(ASCII) for mark in (*marks.OUTCOMES.values(), marks.BEST, marks.FRONT)]
    assert len(set(outcomes)) == len(outcomes)


def test_every_precision_is_explained_with_its_bits_and_colour() -> None:
    for precision in PRECISIONS.values():
        style = str(marks.precision_style(precision)).replace(" ", r"\s")
        cell = marks.precision_cell(precision).plain
        assert re.search(rf"`{cell}`\s{precision.name}\s\({style}\)", LEGEND)


def test_every_key_of_watch_and_every_command_that_looks_is_listed() -> None:
    for key, meaning in KEYS.items():
        assert f"| `{key}` | {meaning} |" in LEGEND
    for command in GROUPS["look"]:
        assert f"| `searcher {command} " in LEGEND
