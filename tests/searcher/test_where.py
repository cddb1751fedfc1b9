"""Conditions on trials, against their meaning written as Python."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from bhvit import InvalidInput
from bhvit.precision import PRECISIONS
from searcher.records import Outcome, TrialRecord
from searcher.repeats import Repeats
from searcher.trial_fields import TrialFields
from searcher.where import condition
from tests.searcher.architectures import address_of
from tests.searcher.records import record_of
from tests.searcher.spaces import mixed_space
from tests.searcher.studies import study_space

SPACE = study_space()
FIELDS = TrialFields(SPACE)
BASE = SPACE.base
EARLY, LATE = BASE.block_parts(0)[0], BASE.block_parts(3)[0]


def records() -> list[TrialRecord]:
    draw = random.Random(0)
    outcomes = [Outcome.COMPLETE, Outcome.STOPPED, Outcome.DIVERGED, Outcome.OVER_BUDGET]
    found = []
    for number in range(200):
        message = draw.choice(["", "NaN in step 3"])
        record = record_of(SPACE, draw.randrange(SPACE.size), draw.choice(outcomes), message=message)
        metrics = record.metrics and replace(record.metrics, accuracy=draw.random())
        found.append(replace(record, number=number, metrics=metrics))
    return found


RECORDS = records()


def bits(r: TrialRecord, address: str) -> int:
    return r.candidate.layers[address].weight_bits


def accuracy(r: TrialRecord) -> float:
    return -1.0 if r.metrics is None else r.metrics.accuracy


DOWN = ("downsample1", "downsample2", "downsample3")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("hidden>=2", lambda r: r.choices["hidden"] >= 2),
        ("hidden=1.5", lambda r: r.choices["hidden"] == 1.5),
        ("hidden>=2 and intermediate<3", lambda r: r.choices["hidden"] >= 2 and r.choices["intermediate"] < 3),
        ("downsample*>=int8", lambda r: all(bits(r, a) >= 8 for a in DOWN)),
        ("not downsample*>=int8", lambda r: not all(bits(r, a) >= 8 for a in DOWN)),
        ("downsample* != fp16", lambda r: all(bits(r, a) != 16 for a in DOWN)),
        (f"{address_of(BASE, 2, block=1)}==int4", lambda r: bits(r, address_of(BASE, 2, block=1)) == 4),
        (f"*.{LATE}>binary", lambda r: all(bits(r, a) > 1 for a in r.candidate.layers if a.endswith(LATE))),
        (f"'stage[01].*.{EARLY}'==int4", lambda r: bits(r, address_of(BASE, 0)) == 4),
        (f"stage[01].*.{EARLY}==int4", lambda r: bits(r, address_of(BASE, 0)) == 4),
        ("memory<=0.5 MiB", lambda r: r.memory_bytes <= 2**19),
        ("memory<=0.5MiB or ops<3M", lambda r: r.memory_bytes <= 2**19 or r.ops < 3e6),
        ("outcome==over budget", lambda r: r.outcome is Outcome.OVER_BUDGET),
        ("outcome!='over*'", lambda r: r.outcome is not Outcome.OVER_BUDGET),
        ("message==*NaN*", lambda r: "NaN" in r.message),
        ("accuracy>=50%", lambda r: accuracy(r) >= 0.5),
        ("not accuracy>=0.5", lambda r: not accuracy(r) >= 0.5),
        ("gain<-10%", lambda r: r.metrics is not None and r.metrics.accuracy - r.metrics.parent_accuracy < -0.1),
        ("ops_share<50%", lambda r: r.ops < 0.5 * SPACE.budget.limits["ops"]),
        ("seconds<1min", lambda r: r.metrics is not None),
        ("hidden=1 or hidden=2 and intermediate=1", lambda r: _either(r)),
        ("(hidden=1 or hidden=2) AND intermediate=1", lambda r: r.choices["hidden"] in (1, 2) and _narrow(r)),
        ("not not hidden=1", lambda r: r.choices["hidden"] == 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_condition_selects_what_it_says(text: str, meaning: Callable[[TrialRecord], bool]) -> None:
    selected = list(filter(condition(text, FIELDS), RECORDS))
    assert selected == list(filter(meaning, RECORDS))
    assert text == "seconds<1min" or 0 < len(selected) < len(RECORDS)


def _narrow(r: TrialRecord) -> bool:
    return r.choices["intermediate"] == 1


def _either(r: TrialRecord) -> bool:
    return r.choices["hidden"] == 1 or (r.choices["hidden"] == 2 and _narrow(r))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a comparison such as hidden>=2, but found the end; at the ▸ in: ▸"),
        ("hidden", "after hidden, but found the end; at the ▸ in: hidden▸"),
        ("hidden>=", "expected a value after hidden>=, but found the end; at the ▸ in: hidden>=▸"),
        ("hidden>=wide", "hidden must be compared with a number, but it is 'wide'; at the ▸ in: hidden>=▸wide"),
        ("hiden>=2", "unknown field 'hiden' (did you mean 'hidden'?)"),
        ("hidden>=2 and", "but found the end; at the ▸ in: hidden>=2 and▸"),
        ("(hidden>=2", "( is not closed; at the ▸ in: ▸(hidden>=2"),
        ("hidden>=2)", "expected and, or or the end, but found ')'; at the ▸ in: hidden>=2▸)"),
        ("hidden>=2 && ops<3M", "& has no meaning here; join comparisons by and, or, not; at the ▸ in: hidden>=2 ▸&&"),
        ("downsample1>=8", f"downsample1 must be compared with one of {', '.join(PRECISIONS)}, but it is '8'"),
        ("accuracy>60", "accuracy is a share of 1, but it is compared with '60'; write 60%"),
        ("accuracy>good", "accuracy must be compared with a share such as 60% or 0.6, but it is 'good'"),
        ("outcome<stopped", "outcome has no order; compare it by == or !="),
        ("outcome==stoped", "unknown outcome 'stoped' (did you mean 'stopped'?)"),
        ("memory<=60%", "memory must be compared with an amount, but it is '60%'; see memory_share"),
        ("memory<0.3", "0.3 without a unit is less than one; give it a unit (0.3MiB), or use memory_share"),
        ("memory<300K", "it is '300K'; write '300 KiB' or '300 KB'; units: B, KiB"),
        ("(" * 3000 + "hidden>1", "more than 100 not and ( within each other"),
        ("not " * 3000 + "hidden>1", "more than 100 not and ( within each other"),
        ("ops<3X", "ops must be an amount such as '400 MOPs', but it is '3X'"),
        ("seconds<3 weeks", "seconds must be compared with a time such as 90, 90s, 5min or 2h, but it is '3 weeks'"),
        ("0.5<accuracy", "unknown field '0.5'"),
        ("message=='abc", "' is not closed; at the ▸ in: message==▸'abc"),
        ("stage9*==fp16", "unknown field 'stage9*'"),
        ("mean>0.5", "unknown field 'mean'"),
        ("trial==__import__('os')", "trial must be compared with a number, but it is '__import__'"),
    ],
    ids=lambda value: "",
)
def test_wrong_condition_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as error:
        condition(text, FIELDS)
    assert message in str(error.value)
    assert str(error.value).startswith("--where: ")
    assert "\n" not in str(error.value)


def test_means_over_seeds_are_fields_where_there_are_seeds() -> None:
    r = record_of(SPACE, 5, Outcome.COMPLETE)
    fields = TrialFields(SPACE, Repeats(accuracies={r.candidate.id: (0.5, 0.6)}))
    assert fields.named("mean").value(r) == pytest.approx(0.55)
    assert fields.named("sd").value(r) == pytest.approx(0.0707, abs=1e-4)
    assert condition("mean>54% and seeds==2", fields)(r)


def test_a_misspelt_model_is_refused_and_a_glob_over_labels_is_none() -> None:
    fields = TrialFields(mixed_space("one_layer", "float"))
    with pytest.raises(InvalidInput, match=r"unknown model 'flaot' \(did you mean 'float'\?\); use one of: float, one"):
        condition("model==flaot", fields)
    record = record_of(fields.space, fields.space.encode({"model": "float"}))
    assert [condition(text, fields)(record) for text in ("model=fl*", "model!=float", "model=*y*")] == [
        True,
        False,
        False,
    ]
