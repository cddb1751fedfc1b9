"""The table of trials: as many columns as fit, the best and the Pareto front marked, precisions as a strip."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from bhvit.errors import InvalidInput, unknown_name
from searcher.measures import WORD, Measure
from searcher.model_space import MODEL, ModelSpace
from searcher.quantities import QUANTITIES
from searcher.records import Outcome, TrialRecord
from searcher.snapshot import StudySnapshot
from searcher.trial_fields import NOTHING, TrialFields
from searcher.variables import Kind
from searcher.views import marks
from searcher.views.candidate import precision_text
from searcher.views.console import table
from searcher.views.strip import strip_text, strips_heading, strips_note

GAP = 2  # columns between two columns of a table
ROOMY = 160  # columns of a terminal from which precisions are said in words too
WORDS = {Outcome.STOPPED: "stopped early by its learning curve"}  # of outcomes that one word does not explain
SPECIAL = {
    "mark": "outcome unless complete, best (★), Pareto front (◆)",
    "place": "place in the list",
    "bits": "precisions as a strip of weight bits",
    "precision": "precisions in words",
}
_ORDER = (
    *(
        "mark",
        "place",
        "trial",
        "model",
        "hidden",
        "intermediate",
        "bits",
        "accuracy",
        "parent_accuracy",
        "mean",
        "sd",
        "seeds",
    ),
    *("memory", "memory_share", "ops", "ops_share", "latency", "latency_share", "precision"),
)
WIDTH = "width"  # both width factors in one column
_GIVEN_UP = (  # in turn, where there is no room
    *("precision", "place", "latency_share", "ops_share", "memory_share", "parent_accuracy"),
    *("intermediate", "hidden", "ops", WIDTH, "memory", "latency", "bits"),
)


@dataclass(frozen=True)
class Column:
    """One column: heading, whether it holds figures, and a cell a row."""

    name: str
    heading: str
    figures: bool
    cells: tuple[Text, ...]

    @property
    def width(self) -> int:
        """Columns of the terminal that it needs."""
        return max(len(self.heading), *(cell.cell_len for cell in self.cells), 0)


@dataclass(frozen=True)
class Leaderboard:
    """Rows of `records`, in their order, with the columns that are asked for or those (`among` some) that fit.

    `best` and `front` are the numbers of the trials to mark. Below the table stand `more`, a line on rows that are not
    in it, and (`noted`) what a reader of the columns must know, also of the rows `below`, in tables without notes.
    """

    records: Sequence[TrialRecord]
    fields: TrialFields
    columns: Sequence[str] | None = None
    best: int | None = None
    front: Collection[int] = field(default_factory=frozenset)
    more: str = ""
    noted: bool = True
    below: Sequence[TrialRecord] = ()
    among: Collection[str] = _ORDER

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        plain = not sys.stdout.isatty()
        if self.columns is not None:
            chosen = [self.column(name, plain) for name in self.columns]
        else:
            names = [name for name in self.default_columns(options.max_width, plain) if name in self.among]
            chosen = [self.column(name, plain) for name in names]
            chosen = chosen if plain else _fitting(chosen, options.max_width)
        result = table(*((column.heading, "right" if column.figures else "left") for column in chosen))
        for column, drawn in zip(chosen, result.columns, strict=True):
            drawn.no_wrap = column.figures or column.name in ("mark", "bits")
        for row, record in enumerate(self.records):
            cells = [column.cells[row] for column in chosen]
            result.add_row(*cells, style="bold" if record.number == self.best else None)
        yield result
        if self.more:
            yield Text(self.more, style="dim")
        if self.noted:
            yield from (Text(line, style="dim") for line in ("", *self.notes({column.name for column in chosen})))

    def column(self, name: str, plain: bool) -> Column:
        """The column `name`: a field's, or one of `SPECIAL`; `plain` for a pipe, where no cell is empty."""
        if name not in SPECIAL:
            found = self.fields.named(name, "column")
            numeric = found.measure is not WORD
            texts = list(map(found.text, self.records))
            cells = [_one_word(text, found.measure) if plain else text for text in texts]
            heading = found.heading.replace(" ", "") if plain else found.heading
            return Column(name, heading, numeric, tuple(map(Text, cells)))
        headings = {"mark": "", "place": "#", "bits": strips_heading(self._models(self.records))}
        heading = name if plain else headings.get(name, name)
        cells_of = {"mark": self._marks, "place": self._places, "bits": self._strips, "precision": self._words}[name]
        return Column(name, heading, name == "place", tuple(cells_of(plain)))

    def default_columns(self, width: int = 0, plain: bool = False) -> list[str]:
        """Columns worth having where there is room."""
        variables = self.fields.space.variables
        unasked = {str(kind) for kind in Kind if not any(v.kind is kind for v in variables)}
        if str(Kind.PRECISION) in unasked:
            unasked.add("bits")
        if plain or width < ROOMY:
            unasked.add("precision")
        unasked |= {f"{q}_share" for q in QUANTITIES if q not in self.fields.space.budget.limits}
        unasked |= QUANTITIES.keys() - set(self.fields.space.quantities)
        unasked |= {"mean", "sd", "seeds"} - set(self.fields.names)
        return [name for name in _ORDER if name not in unasked]

    def notes(self, shown: Collection[str]) -> Iterator[str]:
        """What a reader of these columns must know."""
        if "mark" in shown:
            said = [f"{marks.BEST.character} best within the budget", f"{marks.FRONT.character} on the Pareto front"]
            there = {r.outcome for r in (*self.records, *self.below)} - {Outcome.COMPLETE}
            said += [
                f"{marks.OUTCOMES[outcome].character} {WORDS.get(outcome, outcome)}"
                for outcome in Outcome
                if outcome in there
            ]
            yield f"{', '.join(said)}."
        told = {
            "accuracy": "Top-1 on the validation split",
            "parent_accuracy": "FP: full-precision parent of equal widths",
            "memory_share": "share of the limit",
            WIDTH: "width: hidden × MLP",
        }
        if parts := [text for name, text in told.items() if name in shown]:
            yield f"{'; '.join(parts)}."
        if "bits" in shown:
            yield strips_note(self._models([*self.records, *self.below]))

    def _models(self, records: Sequence[TrialRecord]) -> list[ModelSpace]:
        """Those that `records` are of, in the order of the space; all where there is no record."""
        space = self.fields.space
        labels = {space.model_of(record.choices).label for record in records}
        return [model for model in space.models if model.label in labels] or list(space.models)

    def _marks(self, plain: bool) -> Iterator[Text]:
        for record in self.records:
            found = marks.trial_marks(record.outcome, record.number == self.best, record.number in self.front)
            yield found if found or not plain else Text(NOTHING)

    def _places(self, plain: bool) -> Iterator[Text]:
        return (Text(str(place)) for place in range(1, len(self.records) + 1))

    def _strips(self, plain: bool) -> Iterator[Text]:
        heading = strips_heading(self._models(self.records))
        return (strip_text(record.candidate.layers, plain, heading) for record in self.records)

    def _words(self, plain: bool) -> Iterator[Text]:
        return (Text(precision_text(record.candidate.layers)) for record in self.records)


def leaderboard(
    snapshot: StudySnapshot,
    fields: TrialFields,
    records: Sequence[TrialRecord],
    columns: Sequence[str] | None = None,
    more: str = "",
    noted: bool = True,
    below: Sequence[TrialRecord] = (),
    among: Collection[str] = _ORDER,
) -> Leaderboard:
    """The table of `records` of a study, with its best trial and its Pareto front marked."""
    best = snapshot.ranked[0].number if snapshot.ranked else None
    front = frozenset(r.number for r in snapshot.front)
    return Leaderboard(records, fields, columns, best, front, more, noted, below, among)


def column_names(text: str, fields: TrialFields) -> list[str]:
    """The columns that `--columns` asks for; raises `InvalidInput` with all names for an unknown one."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in SPECIAL:
            try:
                fields.named(name, "column")
            except InvalidInput as error:
                if name.removesuffix("_share") in QUANTITIES:
                    raise
                raise unknown_name("column", name, [*SPECIAL, *fields.names]) from error
    return names


def columns_view(fields: TrialFields) -> RenderableType:
    """Every column there is, with what it holds."""
    result = table("column", "unit", "what it holds")
    for name, about in SPECIAL.items():
        result.add_row(name, NOTHING, about)
    for name in fields.names:
        found = fields.named(name)
        result.add_row(name, found.unit or NOTHING, found.about)
    result.add_row("stage2.*, downsample*", NOTHING, "precision of a layer, or of all that a glob matches")
    return result


def _one_word(text: str, measure: Measure) -> str:
    """A cell without spaces, so that awk sees one column: amounts lose theirs, words keep one between them."""
    return text if measure is WORD else text.replace(" ", "")


def _fitting(columns: Sequence[Column], width: int) -> list[Column]:
    """Those that fit: some are given up; where the strip was, costs may have room again."""
    if any(column.name in ("latency", MODEL) for column in columns):
        columns = _in_pairs(columns, width)
    left = {column.name: column for column in columns}
    given_up = []
    for name in _GIVEN_UP:
        if _width(list(left.values())) <= width:
            break
        if name in left:
            given_up.append(left.pop(name))
    for column in given_up:
        if column.name in QUANTITIES and _width([*left.values(), column]) <= width:
            left[column.name] = column
    return [column for column in columns if column.name in left]


def _in_pairs(columns: Sequence[Column], width: int) -> Sequence[Column]:
    """The columns; pairs of them as one where otherwise a latency, or which model it is, would drive out the widths."""
    early = _GIVEN_UP[: _GIVEN_UP.index("intermediate")]
    if _width([column for column in columns if column.name not in early]) <= width:
        return columns
    columns = _together(columns, "hidden", "intermediate", WIDTH, "×")
    return _together(columns, "mark", "trial", "trial", " ")


def _together(columns: Sequence[Column], first: str, second: str, heading: str, between: str) -> Sequence[Column]:
    """The columns with two of them as one where both are there."""
    pair = [column for column in columns if column.name in (first, second)]
    if len(pair) < 2:
        return columns
    cells = (Text(between).join(row) for row in zip(*map(_padded, pair), strict=True))
    both = Column(first if heading == second else heading, heading, True, tuple(cells))
    return [both if column is pair[0] else column for column in columns if column is not pair[1]]


def _padded(column: Column) -> Iterator[Text]:
    """Cells that are all as wide as the widest."""
    widest = max((cell.cell_len for cell in column.cells), default=0)
    for cell in column.cells:
        padded, missing = cell.copy(), widest - cell.cell_len
        (padded.pad_left if column.figures else padded.pad_right)(missing)
        yield padded


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + GAP * (len(columns) - 1)
