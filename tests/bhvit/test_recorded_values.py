"""Parity with the released implementation; how the values were made and the one difference: see `recorded.py`."""

import functools

import pytest

from tests.bhvit.recorded import VARIANTS, deviations, model_of, recorded, train_losses, inputs_of

TOLERANCE = 1e-9
MODES = {"logits", "stages"}
TRAINING = {"train logits", "train loss", "gradient norms", "gradients"}

deviations_of = functools.cache(deviations)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_recorded_value_is_reproduced(variant):
    found = deviations_of(variant)
    assert {kind: value for kind, value in found.items() if not value < TOLERANCE} == {}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kind_of_recorded_value_is_compared(variant):
    expected = set(MODES)
    if "logits_train" in recorded(variant):
        expected |= TRAINING
    if VARIANTS[variant]["train_steps"]:
        expected.add("three losses")
    assert set(deviations_of(variant)) == expected


def test_a_weight_that_is_slightly_off_is_noticed():
    model, inputs = model_of("binary"), inputs_of("binary")
    model.head.linear.bias.data[0] += 1e-7
    loss = train_losses(model, inputs, 1)[0][0]
    assert abs(loss - recorded("binary")["train_losses"][0, 0]) > TOLERANCE
