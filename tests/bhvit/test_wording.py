"""Lists and counts in sentences."""

import pytest

from bhvit.wording import counted, listed, plural


@pytest.mark.parametrize(
    ("names", "text"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c"), ((1, 2.5), "1 and 2.5")],
)
def test_names_are_joined_as_in_a_sentence(names: list[object], text: str) -> None:
    assert listed(names) == listed(iter(names)) == text
    assert listed(names, "or") == text.replace(" and ", " or ")


def test_only_one_of_a_thing_is_no_plural() -> None:
    assert [counted(n, "trial") for n in (0, 1, 2, 12_000)] == ["0 trials", "1 trial", "2 trials", "12,000 trials"]
    assert [plural("GPU", n) for n in (0.5, 1, 1.0, 2)] == ["GPUs", "GPU", "GPU", "GPUs"]
