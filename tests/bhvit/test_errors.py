"""Messages of what is wrong: hints at what was meant, and names as users write them."""

import pytest

from bhvit.errors import InvalidInput, nearest, renamed, unknown_name
from bhvit.precision import PRECISIONS


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("mdoel", ["model", "hidden", "downsample*"], "model"),
        ("mdl", ["model", "hidden", "downsample*"], "model"),
        ("mod*", ["model", "hidden", "downsample*"], "model"),
        ("avx51", ["avx2", "avx512", "rpi5"], "avx512"),
        ("flops", ["memory", "ops", "latency"], "ops"),
        ("bianry", PRECISIONS, "binary"),
    ],
)
def test_a_misspelt_name_is_recognised(name: str, known: list[str], meant: str) -> None:
    assert nearest(name, known) == f" (did you mean {meant!r}?)"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("int3", PRECISIONS),  # as near to int2 as to int4 and int8
        ("window_size", ["image_size", "classes"]),
        ("in_chans", ["num_classes", "num_heads", "image_size"]),
        ("budget", ["depths", "preset"]),
        ("x", []),
    ],
)
def test_nothing_is_hinted_at_that_was_hardly_meant(name: str, known: list[str]) -> None:
    assert nearest(name, known) == ""


def test_an_unknown_name_lists_each_known_one_once() -> None:
    assert str(unknown_name("sort", 3, ["b", "a", "b"])) == "unknown sort 3; use one of: a, b."
    assert str(unknown_name("sort", "aa", ["ab", "b"], " (no)")) == "unknown sort 'aa' (no); use one of: ab, b."


def test_fields_are_called_by_the_names_that_users_write() -> None:
    text = r"^--size must be at most 3 \* depth, but my_size is 4\.$"
    with pytest.raises(InvalidInput, match=text), renamed({"size": "--size"}):
        raise InvalidInput("size must be at most 3 * depth, but my_size is 4.")
