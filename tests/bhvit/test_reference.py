"""Agreement with everything that was recorded of the released implementation, in float64.

One deliberate difference: the released sign gives sign(0) = 0, ours +1; no recorded value contains a zero that matters.
"""

import json

import pytest

from bhvit.checkpoint import reference_state_dict
from tests.bhvit.recorded import REFERENCE, VARIANTS, deviations, model_of, recorded

TOLERANCE = 1e-9
BASIC = {"logits", "stages"}
TRAINED = {"train logits", "train loss", "gradient norms", "gradients"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_recorded_value_is_met_to_1e_9(variant: str) -> None:
    found = deviations(variant)
    expected = BASIC | (TRAINED if "logits_train" in recorded(variant) else set())
    expected |= {"three losses"} if VARIANTS[variant]["train_steps"] else set()
    assert set(found) == expected
    assert max(found.values()) < TOLERANCE, found


def test_no_recorded_value_is_left_out() -> None:
    kinds = {name.partition("/")[0] for variant in VARIANTS for name in recorded(variant)}
    assert kinds == {
        *("logits_eval", "eval_stats", "eval_head", "logits_train", "loss_train"),
        *("grad_names", "grad_norms", "grad", "train_losses"),
    }


@pytest.mark.parametrize("variant", [p.name.removesuffix(".keys.json") for p in REFERENCE.glob("*.keys.json")])
def test_names_and_shapes_are_the_released_ones(variant: str) -> None:
    released = json.loads((REFERENCE / f"{variant}.keys.json").read_text())
    ours = {name: list(value.shape) for name, value in reference_state_dict(model_of(variant)).items()}
    assert ours == released
