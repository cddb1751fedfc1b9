"""Quantizers of attention probabilities: few unsigned levels, a learned scale."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bhvit import global_batch
from bhvit.quantizers.first_batch import FirstBatch
from bhvit.quantizers.learned_step import quantize_with_step

PLANES_LEVEL = 3  # highest level of two bit planes
PLANE_INITIAL = 0.005  # of the level of one bit plane


class ProbabilityDecomposition(nn.Module):
    r"""Four-level attention probabilities of a binary block, which decompose into two bit planes.

    With softmax probabilities P, and scale $\alpha_h$ and zero $z_h$ of each head:

    $$ q(P) = \alpha_h \, \text{clamp}(L, 0, 3) \qquad L = \text{round}(3 P / \alpha_h + z_h) $$

    $$ \frac{\partial q}{\partial P} = 3 \cdot 1_{0 \leq L \leq 3} \qquad
       \frac{\partial q}{\partial \alpha_h} = \text{clamp}(L, 0, 3) - \frac{3 P}{\alpha_h} 1_{0 \leq L \leq 3} \qquad
       \frac{\partial q}{\partial z_h} = \alpha_h 1_{0 \leq L \leq 3} $$

    Gradients of $\alpha$ and z are scaled by $H / \sqrt{3 \cdot \text{numel}}$. The first training batch sets
    $\alpha_h = 2 \, \overline{3P} / \sqrt{3}$ and adds $0.1 \min 3P$ to $z_h$. The factor 3 stays in the product with
    the values, as in the released code.
    Source: Gao et al., BHViT, CVPR 2025 (arXiv 2503.02394), quantization decomposition.
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(num_heads))
        self.zero_point = nn.Parameter(torch.zeros(num_heads))
        self.first_batch = FirstBatch()

    def forward(self, probabilities: Tensor) -> Tensor:
        """Levels times scale for `probabilities` (..., H, queries, keys)."""
        alpha, zero = self.first_batch(self.training, lambda: self._initial(probabilities), self.alpha, self.zero_point)
        elements = probabilities.numel() * global_batch.parts()
        gradient_scale = alpha.numel() / math.sqrt(elements * PLANES_LEVEL)
        return _Decomposition.apply(probabilities, alpha[:, None, None], zero[:, None, None], gradient_scale)

    def _initial(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        per_head = PLANES_LEVEL * probabilities.movedim(-3, 0).flatten(1)
        alpha = 2 * global_batch.mean(per_head.mean(1)) / math.sqrt(PLANES_LEVEL)
        return alpha, self.zero_point + 0.1 * global_batch.smallest(per_head.amin(1))


class _Decomposition(torch.autograd.Function):
    """`ProbabilityDecomposition` with straight-through rounding; alpha and zero are (H, 1, 1)."""

    @staticmethod
    def forward(ctx: Any, probabilities: Tensor, alpha: Tensor, zero: Tensor, gradient_scale: float) -> Tensor:
        level = torch.addcmul(zero, probabilities, PLANES_LEVEL / alpha).round_()
        ctx.save_for_backward(probabilities, level, alpha)
        ctx.gradient_scale = gradient_scale
        return (level.clamp(0, PLANES_LEVEL) * alpha).to(probabilities.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        probabilities, level, alpha = ctx.saved_tensors
        clamped = level.clamp(0, PLANES_LEVEL)
        passed = grad * (level == clamped)
        shape = alpha.shape
        along_alpha = (grad * clamped).sum_to_size(shape) - (passed * probabilities).sum_to_size(shape) * (
            PLANES_LEVEL / alpha
        )
        along_zero = passed.sum_to_size(shape) * alpha
        return PLANES_LEVEL * passed, along_alpha * ctx.gradient_scale, along_zero * ctx.gradient_scale, None


class ProbabilityPlane(nn.Module):
    r"""Attention probabilities of one bit: 0 or a learned level c, the same for all heads.

    $$ q(P) = c \, \text{clamp}(\text{round}(P / c), 0, 1) \qquad
       \frac{\partial q}{\partial P} = 1_{0 < P/c < 1} \qquad
       \frac{\partial q}{\partial c} =
       \begin{cases} \text{round}(P/c) - P/c & P/c < 1 \\ 1 & P/c \geq 1 \end{cases} $$

    Rounding is half to even, so P > c / 2 gives c. The sign of c carries no meaning, as in `LearnedStep`.
    Source: Le & Li, BinaryViT, CVPRW 2023 (arXiv 2306.16678); initial value as released.
    """

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.tensor(PLANE_INITIAL))

    def forward(self, probabilities: Tensor) -> Tensor:
        """0 or c for `probabilities` (..., H, queries, keys)."""
        return quantize_with_step(probabilities, None, self.step, 0, 1, 1.0)


class LearnedStepProbability(nn.Module):
    r"""Unsigned uniform attention probabilities with one learned step $s_h$ a head.

    The equations of `LearnedStep` with levels $0 .. Q_p = 2^b - 1$, P in the place of x and the gradient scale
    $1 / \sqrt{\text{elements of a head} \cdot Q_p}$. The first training batch sets $s_h = 2 \overline{P} / \sqrt{Q_p}$.
    Source: Esser et al., ICLR 2020 (arXiv 1902.08153).
    """

    def __init__(self, bits: int, num_heads: int) -> None:
        super().__init__()
        self.highest = 2**bits - 1
        self.step = nn.Parameter(torch.ones(num_heads))
        self.first_batch = FirstBatch()

    def forward(self, probabilities: Tensor) -> Tensor:
        """Quantized `probabilities` (..., H, queries, keys)."""
        step = self.first_batch(self.training, lambda: self._initial(probabilities), self.step)
        elements = probabilities.numel() * global_batch.parts()
        gradient_scale = math.sqrt(step.numel() / (elements * self.highest))
        return quantize_with_step(probabilities, None, step[:, None, None], 0, self.highest, gradient_scale)

    def _initial(self, probabilities: Tensor) -> tuple[Tensor]:
        per_head = probabilities.movedim(-3, 0).flatten(1)
        return (2 * global_batch.mean(per_head.mean(1)) / math.sqrt(self.highest),)
