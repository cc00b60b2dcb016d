# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The volumetric adversarial frequency attack: an image quantized block by block in the frequency domain."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from monai.losses import DiceLoss, SSIMLoss
from monai.networks import one_hot
from torch import Tensor, nn
from torch.nn import functional

from monai_shield.attacks.base import Attack, AttackInfo
from monai_shield.attacks.bpda import BPDA
from monai_shield.attacks.loop import KEEP, Loss, ascend, still_label
from monai_shield.attacks.losses import cross_entropy, loss_called, tracked_for
from monai_shield.attacks.problem import Outcome, Problem


def dice_cross_entropy(logits: Tensor, problem: Problem, held: Tensor, progress: float) -> Tensor:
    """Cross entropy with the label plus 1 − soft Dice, the mean over the classes, on the attacked pixels, (B,)."""
    attacked = problem.attacked.unsqueeze(1)
    label = one_hot(problem.label.unsqueeze(1), logits.shape[1], dtype=logits.dtype)
    dice = DiceLoss(reduction="none")(logits.softmax(1) * attacked, label * attacked)
    return cross_entropy(logits, problem, held, progress) + dice.flatten(1).mean(1)


@dataclass(eq=False)
class VAFA(Attack):
    """Volumetric adversarial frequency attack (Hanif et al. 2023, arXiv 2307.07269): learned quantization of blocks.

    The image, in fractions of the window above its lower bound, is cut into blocks of 8³ pixels (8² in 2D; see
    :func:`filled_up` for the last ones). Each coefficient c of the orthonormal DCT of a block has a q of its own::

        c ← q · round(c / q),    q ← clamp(q + step · sign ∂/∂q [L − ssim_weight · (1 − SSIM)], q_min, q_max)

    from q = q_max on, with L the loss of the network on the image and SSIM the structural similarity of it and the
    clean image. The gradient goes through :func:`smooth_round`, the image itself is rounded in earnest and cut to the
    bounds, where the paper stretches each slice to [0, 1]. What bounds the perturbation is q_max: its L2 norm is at
    most √n · q_max / 2 for n pixels and channels, those that were filled up included. Success is that of an untargeted
    attack. Other settings are those of :class:`~monai_shield.attacks.base.Attack`.

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

    Raises:
        ValueError: when a setting is out of its range.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="VAFA",
        paper="Hanif et al., Frequency Domain Adversarial Training for Robust Volumetric Medical Segmentation",
        year=2023,
        arxiv="2307.07269",
    )

    q_max: float = 20 / 255
    q_min: float = 5 / 255
    step_size: float = 1 / 255
    max_steps: int = 20
    block_size: int = 8
    ssim_weight: float = 1.0
    loss: str | Loss = dice_cross_entropy
    stop_early: bool = False
    keep: str = "highest"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.q_min <= self.q_max:
            raise ValueError(f"q_min and q_max must be 0 < q_min <= q_max, got {self.q_min} and {self.q_max}.")
        if not self.step_size > 0 or self.max_steps < 1 or self.block_size < 1:
            raise ValueError(
                f"step_size, max_steps and block_size must be positive, "
                f"got {self.step_size}, {self.max_steps} and {self.block_size}."
            )
        if not self.ssim_weight >= 0:
            raise ValueError(f"ssim_weight must not be negative, got {self.ssim_weight}.")
        if self.keep not in KEEP:
            raise ValueError(f"keep must be one of {KEEP}, got {self.keep!r}.")
        loss_called(self.loss)

    def _run(self, network: nn.Module, problem: Problem) -> Outcome:
        rule = self._rule()
        return ascend(
            network,
            problem,
            loss=loss_called(self.loss),
            rule=rule,
            held=still_label,
            criterion=self.success_criterion(),
            max_steps=self.max_steps,
            start=rule.quantized(rule.first_table(problem), problem),
            stop_early=self.stop_early,
            keep=self.keep,
            track=tracked_for(self.loss),
        )

    def _rule(self) -> Requantize:
        """A step rule for one run."""
        return Requantize(
            q_max=self.q_max,
            q_min=self.q_min,
            step=self.step_size,
            block_size=self.block_size,
            ssim_weight=self.ssim_weight,
            max_steps=self.max_steps,
        )


@dataclass
class Requantize:
    """Step rule of :class:`VAFA`: hands the gradient on from the image to the table of the q, and makes the next image
    from the next table.

    Args:
        q_max: largest q, as a fraction of the window.
        q_min: smallest q, as a fraction of the window.
        step: length of a step of q, as a fraction of the window.
        block_size: side of a block.
        ssim_weight: weight of the structural similarity.
        max_steps: number of steps, over which the rounding that the gradient goes through gets harder.
    """

    q_max: float
    q_min: float
    step: float
    block_size: int
    ssim_weight: float
    max_steps: int
    taken: int = field(default=0, init=False)
    table: Tensor | None = field(default=None, init=False)

    def __call__(self, image: Tensor, gradient: Tensor, value: Tensor, problem: Problem) -> Tensor:
        """The next image (B,C,spatial)."""
        table = (self.first_table(problem) if self.table is None else self.table).requires_grad_()
        image = self.quantized(table, problem, softness=0.1 * (1 - self.taken / self.max_steps))
        objective = (image * gradient).sum() - self.ssim_weight * self._dissimilarity(image, problem).sum()
        (slope,) = torch.autograd.grad(objective, table)
        self.table = (table.detach() + self.step * slope.sign()).clamp(self.q_min, self.q_max)
        self.taken += 1
        return self.quantized(self.table, problem)

    def select(self, rows: Tensor) -> None:
        """Go on with the images ``rows`` (b,) only."""
        if self.table is not None:
            self.table = self.table[rows]

    def first_table(self, problem: Problem) -> Tensor:
        """The table before the first step, all q_max; (B,C,spatial) of whole blocks."""
        return torch.full_like(filled_up(problem.image, self.block_size), self.q_max)

    def quantized(self, table: Tensor, problem: Problem, softness: float = 0.1) -> Tensor:
        """The clean image quantized by a table (B,C,spatial of whole blocks), within bounds and support, (B,C,spatial).

        Args:
            table: q of each coefficient, where :func:`block_dct` has it.
            problem: what is asked.
            softness: of the rounding that the gradient goes through.
        """
        clean = filled_up((problem.image - problem.low) / problem.window, self.block_size)
        coefficients = block_dct(clean, self.block_size)
        change = block_idct(quantize(coefficients, table, softness) - coefficients, self.block_size)
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
    """q · round(c / q) of values c by a table of the q, all positive and of the same shape.

    The gradient with respect to q is that of q · :func:`smooth_round` (c / q).
    """

    def hard(table: Tensor) -> Tensor:
        return table * torch.round(values / table)

    def soft(table: Tensor) -> Tensor:
        return table * smooth_round(values / table, softness)

    return BPDA(hard, soft)(table)


def smooth_round(values: Tensor, softness: float) -> Tensor:
    """Differentiable rounding (Gong et al. 2019, arXiv 1908.05033)::

        ⌊u⌋ + (1 + tanh(k (u − ⌊u⌋ − 0.5)) / (1 − softness)) / 2,    k = log(2 / softness − 1)

    Args:
        values: values u.
        softness: in (0, 1), toward 0 the hard rounding. Below 1e-6 it is as 1e-6.
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
