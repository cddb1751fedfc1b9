"""How two sets of logits of the same images stand to one another: plain data, no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Agreement:
    """How logits of `images` images stand to the float64 ones.

    `same` images have the same largest class, `equal` ones equal logits up to rounding; `median` and `largest` are of
    the images' largest deviations of a logit.
    """

    images: int
    same: int
    equal: int
    median: float
    largest: float
