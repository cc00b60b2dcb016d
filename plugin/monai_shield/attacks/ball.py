# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The budget of an attack as a ball, its steepest directions, and points of it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_shield.attacks.problem import Problem, image_generator, per_image

NORMS = ("linf", "l2")


@dataclass(frozen=True)
class Ball:
    """All perturbations r with ‖r‖ ≤ epsilon · window, under the norm "linf" or "l2"."""

    epsilon: float
    norm: str

    def direction(self, gradient: Tensor) -> Tensor:
        """Steepest direction of length 1 along a gradient (B,C,spatial): sign(g), or g / ‖g‖₂ per image."""
        return gradient.sign() if self.norm == "linf" else unit_l2(gradient)

    def project(self, image: Tensor, problem: Problem) -> Tensor:
        """Image (B,C,spatial) within ball and bounds, r scaled or clamped.

        The bounds come last: the clean image lies inside them, so they only ever shrink the perturbation.
        """
        perturbation = image - problem.image
        radius = self.epsilon * problem.window
        if self.norm == "linf":
            perturbation = torch.clamp(perturbation, -radius, radius)
        else:
            length = per_image(torch.linalg.vector_norm(perturbation.flatten(1), dim=1), image)
            perturbation = torch.where(length > radius, perturbation * (radius / length), perturbation)
        return problem.clamp(problem.image + perturbation)

    def draw(self, problem: Problem, seed: int) -> Tensor:
        """The clean images plus noise uniform in the ball, (B,C,spatial), within bounds and support.

        Each image draws from a generator of its own, on the CPU and in float64, so that the draw is the same in any
        batch, on any device and in any precision.
        """
        clean = problem.image
        noise = torch.stack([unit_noise(clean.shape[1:], self.norm, seed, index) for index in problem.index.tolist()])
        perturbation = problem.confine(noise.to(clean)) * (self.epsilon * problem.window)
        return self.project(clean + perturbation, problem)


def unit_noise(shape: torch.Size, norm: str, seed: int, index: int) -> Tensor:
    """A point (C,spatial) drawn uniformly from the unit ball for one image, in float64."""
    generator = image_generator(seed, index)
    if norm == "linf":
        return 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
    radius = torch.rand((), generator=generator, dtype=torch.float64) ** (1 / shape.numel())
    point = torch.randn(shape, generator=generator, dtype=torch.float64)
    return radius * point / torch.linalg.vector_norm(point)


def unit_linf(gradient: Tensor) -> Tensor:
    """g / ‖g‖∞ per image; (B,C,spatial)."""
    return over_norm(gradient, math.inf)


def unit_l2(gradient: Tensor) -> Tensor:
    """g / ‖g‖₂ per image; (B,C,spatial)."""
    return over_norm(unit_linf(gradient), 2)  # twice, as the square of a vanishing gradient would be zero


def over_norm(gradient: Tensor, order: float) -> Tensor:
    """g / ‖g‖ per image, 0 where the gradient is; (B,C,spatial)."""
    length = per_image(torch.linalg.vector_norm(gradient.flatten(1), order, dim=1), gradient)
    return torch.where(length > 0, gradient / length, 0)
