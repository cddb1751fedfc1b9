"""Agreement with everything that was recorded of the released implementations, in float64.

One deliberate difference: the released sign gives sign(0) = 0, ours +1; no recorded value contains a zero that matters.
"""

import pytest

from bhvit.checkpoint import reference_state_dict
from tests.bhvit.recorded import RECORDINGS, deviations

TOLERANCE = 1e-9
BASIC = {"logits", "stages"}
TRAINED = {"train logits", "train loss", "gradient norms", "gradients"}


def of_all(names):
    """(recording, variant) of every family."""
    return [pytest.param(r, name, id=f"{r.folder}-{name}") for r in RECORDINGS for name in names(r)]


@pytest.mark.parametrize(("recording", "variant"), of_all(lambda r: r.variants))
def test_every_recorded_value_is_met_to_1e_9(recording, variant) -> None:
    found, kinds = deviations(recording, variant), {name.partition("/")[0] for name in recording.values(variant)}
    expected = {"logits"} | ({"stages"} if "eval_stats" in kinds else set())
    expected |= TRAINED if "logits_train" in kinds else set()
    expected |= {"three losses"} if "train_losses" in kinds else set()
    assert set(found) == expected
    assert max(found.values()) < TOLERANCE, found


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda r: r.folder)
def test_no_recorded_value_is_left_out(recording) -> None:
    kinds = {name.partition("/")[0] for variant in recording.variants for name in recording.values(variant)}
    assert kinds - {"grad_head"} == {
        *("logits_eval", "eval_stats", "eval_head", "logits_train", "loss_train"),
        *("grad_names", "grad_norms", "grad", "train_losses"),
    }


@pytest.mark.parametrize(("recording", "variant"), of_all(lambda r: r.keys()))
def test_names_and_shapes_are_the_released_ones(recording, variant) -> None:
    ours = {name: list(value.shape) for name, value in reference_state_dict(recording.model(variant)).items()}
    assert ours == recording.released_shapes(variant)
