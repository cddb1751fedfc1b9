"""A canvas of characters: lines in braille dots (2 x 4 a character), marks, texts; in plain ASCII where need be."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text

_BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # by column and row of a character's dots
_BRAILLE = 0x2800
_NONE = Style.null()


class Canvas:
    """`width` x `height` characters; rows count from the top. What is drawn later covers what was drawn before."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._dots = [[0] * width for _ in range(height)]
        self._dot_styles = [[_NONE] * width for _ in range(height)]
        self._marks: dict[tuple[int, int], tuple[str, Style]] = {}

    def dot(self, x: int, y: int, style: Style) -> None:
        """One dot; x in 0 .. 2 width - 1, y in 0 .. 4 height - 1 from the top. Dots outside are left out."""
        if 0 <= x < 2 * self.width and 0 <= y < 4 * self.height:
            self._marks.pop((y // 4, x // 2), None)
            self._dots[y // 4][x // 2] |= _BITS[x % 2][y % 4]
            self._dot_styles[y // 4][x // 2] = style

    def line(self, start: tuple[int, int], end: tuple[int, int], style: Style, gap: int = 0) -> None:
        """Dots from `start` to `end`; with `gap` only two of every 2 + `gap`."""
        (x0, y0), (x1, y1) = start, end
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for i in range(steps + 1):
            if i % (2 + gap) < 2 or not gap:
                self.dot(round(x0 + (x1 - x0) * i / steps), round(y0 + (y1 - y0) * i / steps), style)

    def mark(self, column: int, row: int, character: str, style: Style) -> None:
        """One character; outside the canvas nothing."""
        if 0 <= column < self.width and 0 <= row < self.height:
            self._marks[row, column] = character, style

    def free(self, column: int, row: int) -> bool:
        """Whether no mark stands there."""
        return (row, column) not in self._marks

    def rows(self) -> list[Text]:
        """The rows, each `width` characters long."""
        return [self._row(row) for row in range(self.height)]

    def _row(self, row: int) -> Text:
        text = Text(no_wrap=True)
        for column in range(self.width):
            character, style = self._marks.get((row, column), ("", _NONE))
            if not character:
                dots = self._dots[row][column]
                character, style = (chr(_BRAILLE + dots) if dots else " "), self._dot_styles[row][column]
            text.append(character, style)
        return text
