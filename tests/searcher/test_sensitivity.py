"""The data of a sensitivity, the prior from it, and what is printed; no training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from bhvit.errors import InvalidInput
from searcher.feasible import feasible_set
from searcher.sensitivity import (
    Change,
    Sensitivity,
    most_promising,
    parts_of,
    prior_of,
    read_sensitivity,
    sensitivity_file,
    write_sensitivity,
)
from searcher.space import Space, parse_space
from searcher.views.console import plain_text
from searcher.views.sensitivity import sensitivity_json, sensitivity_view
from tests.searcher.architectures import THIN, address_of, model_of

MODEL, LAST = model_of(THIN), address_of(THIN, 3)


def space_of(**sections: object) -> Space:
    data = {
        "model": MODEL,
        "widths": {"hidden": {"choices": [1, 2]}},
        "precision": {
            "groups": [
                {"layers": "downsample*", "choices": ["binary", "int8", "fp16"]},
                {"layers": LAST, "choices": ["binary", "int4"]},
            ]
        },
    }
    return parse_space(data | sections, "small")


def sensitivity_of(space: Space) -> Sensitivity:
    """The first layer costs most, later ones less; int4 and int8 an eighth of binary; what is tied the sum."""
    order = {address: 1.0 / (i + 1) for i, address in enumerate(space.base.addresses)}
    changes = []
    for layers, precision in parts_of(space):
        added = sum(order[a] for a in layers) * (1 if precision == "binary" else 0.125)
        changes.append(Change(layers, precision, 1.0 + added, 0.75 - added / 10))
    return Sensitivity("0123456789abcdef", 4, 167, 1.0, 0.75, tuple(changes))


def test_every_layer_is_binarised_alone_and_takes_what_the_space_offers_alone_and_tied() -> None:
    space = space_of()
    parts = parts_of(space)
    downsamples = ("downsample1", "downsample2", "downsample3")
    assert [layers for layers, precision in parts if precision == "binary" and len(layers) == 1] == [
        (a,) for a in space.base.addresses
    ]
    assert {p for p in parts if p[1] != "binary"} == {
        *(((a,), "int8") for a in downsamples),
        ((LAST,), "int4"),
        (downsamples, "int8"),
    }
    assert (downsamples, "binary") in parts
    assert len(set(parts)) == len(parts)


def test_prior_divides_the_accuracy_as_the_loss_divides_the_probability() -> None:
    """Losses 1 -> 1 + log 2 and 1 + log 4 with accuracy 0.8: 0.4 and 0.6 are lost; fp16 loses nothing."""
    space = space_of(precision={"groups": [{"layers": "downsample*", "choices": ["binary", "int8", "fp16"]}]})
    layers = space.variables[1].addresses
    changes = (
        Change(layers, "binary", 1 + math.log(4), 0.1),
        Change(layers, "int8", 1 + math.log(2), 0.1),
    )
    prior = prior_of(space, Sensitivity("key", 1, 10, 1.0, 0.8, changes))
    assert prior[0].tolist() == [0, 0]  # hidden
    assert prior[1].tolist() == pytest.approx([-0.6, -0.4, 0])


def test_prior_of_what_was_not_measured_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"the sensitivity of downsample\* to binary must be measured, but it was"):
        prior_of(space_of(), Sensitivity("key", 1, 10, 1.0, 0.8))


@pytest.mark.parametrize("hidden", [1, 2])
def test_configuration_to_train_first_has_the_least_loss_of_its_widths_within_the_budget(hidden: int) -> None:
    free = space_of()
    costs = sorted(free.candidate(free.decode(i)).cost().memory_bytes for i in range(free.size))
    space = space_of(budget={"memory": costs[8]})
    prior = prior_of(space, sensitivity_of(space))
    within = [
        space.digits_of(choices)
        for choices in map(space.decode, range(space.size))
        if choices["hidden"] == hidden and space.candidate(choices).cost().memory_bytes <= costs[8]
    ]
    best = max(sum(p[d] for p, d in zip(prior, digits, strict=True)) for digits in within)
    found = most_promising(space, feasible_set(space), prior, {"hidden": hidden})
    assert found is not None
    digits = space.digits_of(found)
    assert digits in within
    assert sum(p[d] for p, d in zip(prior, digits, strict=True)) == best


def test_of_choices_that_lose_nothing_the_cheaper_one_is_trained_first() -> None:
    space = space_of()
    layers = space.variables[1].addresses
    changes = [c for c in sensitivity_of(space).changes if c.part != (layers, "int8")]
    flat = Sensitivity("key", 1, 10, 1.0, 0.8, (*changes, Change(layers, "int8", 1.0, 0.8)))
    found = most_promising(space, feasible_set(space), prior_of(space, flat), {"hidden": 1})
    assert found is not None
    assert found["downsample*"] == "int8"


def test_widths_over_the_budget_have_no_configuration_to_train_first() -> None:
    free = space_of()
    least = {h: free.candidate({**free.decode(0), "hidden": h}).cost().memory_bytes for h in (1, 2)}
    space = space_of(budget={"memory": least[1]})
    prior, feasible = prior_of(space, sensitivity_of(space)), feasible_set(space)
    assert most_promising(space, feasible, prior, {"hidden": 2}) is None
    assert most_promising(space, feasible, prior, {"hidden": 1}) is not None


def test_measurements_are_read_back_equal_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    path = sensitivity_file(tmp_path, 4)
    sensitivity = sensitivity_of(space_of())
    write_sensitivity(path, sensitivity)
    assert read_sensitivity(path) == sensitivity
    path.write_text('{"batches": 4}')
    with pytest.raises(InvalidInput, match=r"-4\.json: sensitivity lacks parent_key, .* Delete it to measure"):
        read_sensitivity(path)


# --- what is printed


def first_of(space: Space) -> dict[str, Any]:
    return space.complete({"downsample*": "int8"} if len(space.variables) > 1 else {})


def shown(width: int, space: Space) -> list[str]:
    choices = space.complete({})
    sensitivity = sensitivity_of(space)
    view = sensitivity_view(space, space.candidate(choices), sensitivity, first_of(space))
    return plain_text(view, width).splitlines()


@pytest.mark.parametrize("width", [80, 100])
def test_no_line_is_wider_than_the_terminal_and_every_layer_has_one(width: int) -> None:
    space = space_of()
    lines = shown(width, space)
    assert all(len(line) <= width for line in lines)
    rows = [line.split() for line in lines]
    first = [row for row in rows if row and row[0] in space.base.addresses]
    assert [row[0] for row in first][: len(space.base.addresses)] == list(space.base.addresses)


def test_bars_are_as_long_as_the_losses() -> None:
    space = space_of()
    bars = [line.count("█") for line in shown(100, space) if "█" in line]
    assert bars[:4] == [16, 8, 5, 4]  # 1, 1/2, 1/3, 1/4 of 16 characters


def test_conclusion_names_the_layers_that_make_up_half_of_the_loss() -> None:
    """Losses 1, 1/2, ... 1/11 add up to 3.02; the first two to 1.5, just below half, the first three to 61 %."""
    space = space_of(precision={"default": "binary"})
    first, second, third, *_, last = space.base.addresses
    text = " ".join(shown(100, space))
    assert f"Give bits first to {first}, {second}, {third}: 61% of the loss that the 11 layers add" in text
    assert f"last to {last}" in text
    assert "(fixed)" not in text


def test_layers_that_the_space_does_not_choose_are_marked_and_never_recommended() -> None:
    """Of the losses 1/3, 1/6, 1/9 and 1/10 that can be chosen, 1/3 is 47 % and 1/3 + 1/6 are 70 %."""
    lines = shown(100, space_of())
    text = " ".join(lines)
    assert "Give bits first to downsample1, downsample2: 70% of the loss that the 4 layers add" in text
    assert f"last to {LAST}, downsample3" in text
    assert sum("(fixed)" in line for line in lines) == 7 + 1  # of eleven layers, and the legend
    assert "enqueue: [{downsample*: int8}]" in text


def test_json_has_the_layers_in_the_order_of_the_table() -> None:
    space = space_of()
    candidate, sensitivity = space.candidate(space.complete({})), sensitivity_of(space)
    data = sensitivity_json(space, candidate, sensitivity, None)
    assert [row["layer"] for row in data["layers"]] == list(space.base.addresses)
    assert data["layers"][0]["binary"] == {"loss": 2.0, "accuracy": pytest.approx(0.65)}
    assert data["layers"][0]["int8"] is None  # not offered there, not measured
    assert [row["layer"] for row in data["layers"] if not row["fixed"]] == [
        *(f"downsample{i}" for i in (1, 2, 3)),
        LAST,
    ]
    assert [row["variable"] for row in data["variables"]] == ["downsample*", LAST]
    assert data["variables"][0]["fp16"] == {"loss": 1.0, "accuracy": 0.75}
    assert data["train_first"] is None
