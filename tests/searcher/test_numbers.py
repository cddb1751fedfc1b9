"""Figures in words: units are changed where rounding reaches them."""

import pytest

from searcher.numbers import count_text, size_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (size_text(0), "0 B"),
        (size_text(1023), "1,023 B"),
        (size_text(2**20 - 1), "1.00 MiB"),
        (size_text(3 * 2**40), "3.00 TiB"),
        (size_text(9.996 * 1024), "10.0 KiB"),
        (count_text(999), "999"),
        (count_text(999_999), "1.00 M"),
        (count_text(999_940), "999.9 k"),
        (count_text(22_000), "22.0 k"),
        (count_text(2.55e9), "2.55 G"),
    ],
)
def test_figure_has_three_digits_and_its_unit(text: str, expected: str) -> None:
    assert text == expected
