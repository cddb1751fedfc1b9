"""The loss against arithmetic written out, and its shares over the epochs."""

from __future__ import annotations

import math

import pytest
import torch

from searcher.losses import LossShares, combined_loss, distillation_loss, label_loss, loss_shares
from searcher.recipe import LossWeights

# Two images, two classes. Image 0: logits (0, ln 3), softmax (1/4, 3/4). Image 1: logits (ln 4, 0), softmax (4/5, 1/5).
LOGITS = torch.tensor([[0.0, math.log(3)], [math.log(4), 0.0]], dtype=torch.float64)
TARGETS = torch.tensor([[0.1, 0.9], [0.5, 0.5]], dtype=torch.float64)
TEACHER = torch.tensor([[math.log(7), math.log(3)], [0.0, 0.0]], dtype=torch.float64)  # softmax (.7, .3), (.5, .5)

CE = (-(0.1 * math.log(1 / 4) + 0.9 * math.log(3 / 4)) - (0.5 * math.log(4 / 5) + 0.5 * math.log(1 / 5))) / 2
KD = (-(0.7 * math.log(1 / 4) + 0.3 * math.log(3 / 4)) - (0.5 * math.log(4 / 5) + 0.5 * math.log(1 / 5))) / 2


def test_label_loss_is_cross_entropy_against_the_mixed_targets() -> None:
    assert float(label_loss(LOGITS, TARGETS)) == pytest.approx(CE, rel=1e-6)


def test_distillation_is_cross_entropy_against_the_teachers_softmax() -> None:
    assert float(distillation_loss(LOGITS, TEACHER)) == pytest.approx(KD, rel=1e-6)


def test_terms_are_mixed_by_their_shares() -> None:
    loss = combined_loss(LossShares(0.1, 0.8, 0.1), LOGITS, TARGETS, TEACHER, torch.tensor(0.6))
    assert float(loss) == pytest.approx(0.1 * CE + 0.8 * KD + 0.1 * 0.6, rel=1e-6)


def test_no_gradient_reaches_the_teacher_and_the_students_is_written_out() -> None:
    """d KD / d logits = (softmax - teacher's softmax) / B."""
    student = LOGITS.clone().requires_grad_()
    distillation_loss(student, TEACHER).backward()
    expected = torch.tensor([[1 / 4 - 0.7, 3 / 4 - 0.3], [4 / 5 - 0.5, 1 / 5 - 0.5]], dtype=torch.float64) / 2
    assert student.grad is not None
    assert torch.allclose(student.grad, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0, (0.2, 0.8, 0.0)), (899, (0.2, 0.8, 0.0)), (900, (0.1, 0.8, 0.1)), (999, (0.1, 0.8, 0.1))],
)
def test_regularizer_acts_in_the_last_tenth_of_the_published_epochs(epoch: int, expected: tuple[float, ...]) -> None:
    shares = loss_shares(LossWeights(), epoch=epoch, epochs=1000, distils=True, regularizes=True)
    assert (shares.labels, shares.distillation, shares.regularizer) == pytest.approx(expected, abs=1e-12)


def test_short_phase_is_regularized_in_its_last_epoch() -> None:
    late = [loss_shares(LossWeights(), epoch=e, epochs=6, distils=True, regularizes=True).regularizer for e in range(6)]
    assert late == [0, 0, 0, 0, 0, 0.1]


def test_without_teacher_its_share_goes_to_the_labels() -> None:
    shares = loss_shares(LossWeights(), epoch=9, epochs=10, distils=False, regularizes=True)
    assert shares == LossShares(labels=0.9, distillation=0, regularizer=0.1)


def test_without_binary_layers_nothing_is_regularized() -> None:
    shares = loss_shares(LossWeights(), epoch=9, epochs=10, distils=True, regularizes=False)
    assert shares == LossShares(labels=pytest.approx(0.2), distillation=0.8, regularizer=0)


@pytest.mark.parametrize("epoch", range(10))
@pytest.mark.parametrize("distils", [False, True])
@pytest.mark.parametrize("regularizes", [False, True])
def test_shares_always_sum_to_one(epoch: int, distils: bool, regularizes: bool) -> None:
    shares = loss_shares(LossWeights(), epoch=epoch, epochs=10, distils=distils, regularizes=regularizes)
    assert shares.labels + shares.distillation + shares.regularizer == pytest.approx(1)
