# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The volumetric adversarial frequency attack: an image quantized block by block in the frequency domain."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from monai.losses import SSIMLoss
from torch import Tensor, nn
from torch.nn import functional

from monai_shield.attacks.base import Attack, Examples
from monai_shield.attacks.bpda import BPDA
from monai_shield.attacks.loop import KEEP, Loss, StepRule, ascend
from monai_shield.attacks.losses import loss_called, tracked_for
from monai_shield.attacks.problem import Outcome, Problem
from monai_shield.attacks.settings import check_at_least, check_one_of, check_positive
from monai_shield.info import Info


@dataclass(eq=False)
class VAFA(Attack):
    """Volumetric adversarial frequency attack (Hanif et al. 2023, arXiv 2307.07269): learned quantization of blocks.

    The image, in fractions of the window above its lower bound, is cut into blocks of 8³ pixels (8² in 2D; see
    :func:`filled_up` for the last ones). Each coefficient c of the orthonormal DCT of a block has a q of its own::

        c ← q · round(c / q),    q ← clamp(q + step · sign ∂/∂q [L − ssim_weight · (1 − SSIM)], q_min, q_max)

    from q = q_max on, with L the loss of the network on the image and SSIM the structural similarity of it and the
    clean image. The gradient goes through :func:`smooth_round`; the image itself is rounded and cut to the bounds,
    where the paper stretches each slice to [0, 1]. q_max bounds the perturbation: its L2 norm is at most √n · q_max / 2
    for n pixels and channels, those that were filled up included. Success is that of an untargeted attack.

    Args:
        q_max: largest q, as a fraction of the window.
        q_min: smallest q, as a fraction of the window.
        step_size: length of a step of q, as a fraction of the window.
        max_steps: number of steps.
        block_size: side of a block.
        ssim_weight: weight of the structural similarity.
        loss: a name in :data:`~monai_shield.attacks.losses.LOSSES`, or a callable like those.
        stop_early: whether an image stops at its first success.
        keep: which iterate an image keeps, as in :class:`~monai_shield.attacks.pgd.PGD`.
    """

    info: ClassVar[Info] = Info(
        "VAFA",
        "Hanif et al., Frequency Domain Adversarial Training for Robust Volumetric Medical Segmentation",
        2023,
        "2307.07269",
    )
    examples: ClassVar[Examples] = (
        {"q_max": 0.3, "step_size": 0.02, "max_steps": 6},
        {"q_max": 0.5, "q_min": 0.1, "step_size": 0.1, "max_steps": 6, "stop_early": True, "stop_share": 0.4},
    )

    q_max: float = 20 / 255
    q_min: float = 5 / 255
    step_size: float = 1 / 255
    max_steps: int = 20
    block_size: int = 8
    ssim_weight: float = 1.0
    loss: str | Loss = "dice_cross_entropy"
    stop_early: bool = False
    keep: str = "highest"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.q_min <= self.q_max:
            raise ValueError(f"q_min and q_max must be 0 < q_min <= q_max, got {self.q_min} and {self.q_max}.")
        check_positive(step_size=self.step_size)
        check_at_least(1, max_steps=self.max_steps, block_size=self.block_size)
        check_at_least(0, ssim_weight=self.ssim_weight)
        check_one_of(KEEP, keep=self.keep)
        loss_called(self.loss)

    def _run(self, network: nn.Module, problem: Problem) -> Outcome:
        rule = self._rule()
        return ascend(
            network,
            problem,
            loss=loss_called(self.loss),
            rule=rule,
            criterion=self.success_criterion(),
            max_steps=self.max_steps,
            start=rule.quantized(rule.first_table(problem), problem),
            stop_early=self.stop_early,
            keep=self.keep,
            track=tracked_for(self.loss),
        )

    def _rule(self) -> "Requantize":
        """A step rule for one run."""
        return Requantize(self)


@dataclass
class Requantize(StepRule):
    """Step rule of an attack :class:`VAFA`: hands the gradient on from the image to the table of the q, and makes the
    next image from the next table. The rounding that the gradient goes through gets harder with each step."""

    attack: VAFA

    def __call__(self, image: Tensor, gradient: Tensor, value: Tensor, problem: Problem) -> Tensor:
        settings = self.attack
        table = (self.memory["table"] if self.memory else self.first_table(problem)).requires_grad_()
        image = self.quantized(table, problem, softness=0.1 * (1 - self.taken / settings.max_steps))
        objective = (image * gradient).sum() - settings.ssim_weight * self._dissimilarity(image, problem).sum()
        (slope,) = torch.autograd.grad(objective, table)
        table = (table.detach() + settings.step_size * slope.sign()).clamp(settings.q_min, settings.q_max)
        self.memory["table"] = table
        self.taken += 1
        return self.quantized(table, problem)

    def first_table(self, problem: Problem) -> Tensor:
        """The table before the first step, all q_max; (B,C,spatial) of whole blocks."""
        return torch.full_like(filled_up(problem.image, self.attack.block_size), self.attack.q_max)

    def quantized(self, table: Tensor, problem: Problem, softness: float = 0.1) -> Tensor:
        """The clean image (B,C,spatial) quantized by a table of the q of each coefficient (B,C,spatial, whole blocks),
        within bounds and support; ``softness`` is that of the rounding that the gradient goes through."""
        size = self.attack.block_size
        coefficients = block_dct(filled_up((problem.image - problem.low) / problem.window, size), size)
        change = block_idct(quantize(coefficients, table, softness) - coefficients, size)
        inside = (slice(None), slice(None), *(slice(size) for size in problem.image.shape[2:]))
        return problem.clamp(problem.image + problem.confine(change[inside] * problem.window))

    def _dissimilarity(self, image: Tensor, problem: Problem) -> Tensor:
        """1 − SSIM of an image (B,C,spatial) and the clean one, (B,)."""
        size = image.shape[2:]
        loss = SSIMLoss(len(size), win_size=[min(3, each) for each in size], reduction="none")
        pair = ((each - problem.low) / problem.window for each in (image, problem.image))
        return loss(*pair).flatten()


def filled_up(image: Tensor, size: int) -> Tensor:
    """The image (B,C,spatial) made whole blocks of ``size`` pixels a side, by repeating its last pixels."""
    missing = [-length % size for length in image.shape[2:]]
    return functional.pad(image, [end for each in reversed(missing) for end in (0, each)], mode="replicate")


def dct_matrix(size: int) -> Tensor:
    """Matrix of the orthonormal DCT-II of ``size`` values, in float64::

    D[k, n] = √(2 / N) · cos(π (2n + 1) k / 2N),    D[0, n] = √(1 / N)
    """
    index = torch.arange(size, dtype=torch.float64)
    matrix = math.sqrt(2 / size) * torch.cos(math.pi * (2 * index + 1) * index.unsqueeze(1) / (2 * size))
    matrix[0] = math.sqrt(1 / size)
    return matrix


def block_dct(image: Tensor, size: int) -> Tensor:
    """DCT-II of each block of an image (B,C,spatial) of whole blocks; a block's coefficients lie where it lies."""
    return _along_axes(image, dct_matrix(size))


def block_idct(coefficients: Tensor, size: int) -> Tensor:
    """The image (B,C,spatial) whose :func:`block_dct` has these coefficients (B,C,spatial)."""
    return _along_axes(coefficients, dct_matrix(size).T)


def quantize(values: Tensor, table: Tensor, softness: float = 0.1) -> Tensor:
    """q · round(c / q) of values c by a table of the q, all positive and of the same shape. The gradient by q is that
    of q · :func:`smooth_round` (c / q)."""
    rounded: Callable[[Tensor], Tensor] = BPDA(
        lambda q: q * torch.round(values / q), lambda q: q * smooth_round(values / q, softness)
    )
    return rounded(table)


def smooth_round(values: Tensor, softness: float) -> Tensor:
    """Differentiable rounding (Gong et al. 2019, arXiv 1908.05033)::

        ⌊u⌋ + (1 + tanh(k (u − ⌊u⌋ − 0.5)) / (1 − softness)) / 2,    k = log(2 / softness − 1)

    of values u; the softness is in (0, 1), toward 0 the hard rounding, and below 1e-6 as 1e-6.
    """
    softness = max(softness, 1e-6)
    whole = values.floor()
    steepness = math.log(2 / softness - 1)
    return whole + (1 + torch.tanh(steepness * (values - whole - 0.5)) / (1 - softness)) / 2


def _along_axes(image: Tensor, matrix: Tensor) -> Tensor:
    """A matrix (N,N) applied to each run of N pixels along each spatial axis of an image (B,C,spatial)."""
    matrix = matrix.to(image)
    for axis in range(2, image.ndim):
        runs = image.movedim(axis, -1).unflatten(-1, (-1, len(matrix)))
        image = (runs @ matrix.T).flatten(-2).movedim(-1, axis)
    return image
