# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Random noise of the size of an attack: the control every attack is measured against, and the random start."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from monai_shield.attacks.base import Attack, AttackInfo
from monai_shield.attacks.loop import NORMS, into_ball, outcome_at
from monai_shield.attacks.problem import Outcome, Problem, image_generator


@dataclass(eq=False)
class UniformNoise(Attack):
    """Noise drawn uniformly from the ball ‖r‖ ≤ epsilon · window, no gradient: what an attack of that size must beat.

    Success is that of an untargeted attack. Also an image with nothing to attack gets its noise. Other settings are
    those of :class:`~monai_shield.attacks.base.Attack`.

    Args:
        epsilon: radius of the ball, as a fraction of the window.
        norm: norm of the ball, "linf" or "l2".
        seed: the noise of an image comes from (seed, its index).

    Raises:
        ValueError: when a setting is out of its range.
    """

    info: ClassVar[AttackInfo] = AttackInfo(name="Uniform noise", paper="control")

    epsilon: float
    norm: str = "linf"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {NORMS}, got {self.norm!r}.")
        if not self.epsilon >= 0:
            raise ValueError(f"epsilon must not be negative, got {self.epsilon}.")

    def _run(self, network: nn.Module, problem: Problem) -> Outcome:
        noisy = add_noise(problem, epsilon=self.epsilon, norm=self.norm, seed=self.seed)
        return outcome_at(network, noisy, problem, self.hold_out_rule(problem), self.success_criterion())


def add_noise(problem: Problem, *, epsilon: float, norm: str, seed: int) -> Tensor:
    """The clean images plus noise uniform in the ball of radius epsilon · window, within bounds and support.

    Each image draws from a generator of its own, on the CPU and in float64, so that the draw is the same in any batch,
    on any device and in any precision.

    Args:
        problem: what is asked, for B images.
        epsilon: radius, as a fraction of the window.
        norm: norm of the ball, "linf" or "l2".
        seed: seed of the run.

    Returns:
        noisy image (B,C,spatial).
    """
    clean = problem.image
    noise = torch.stack([_unit_noise(clean.shape[1:], norm, seed, index) for index in problem.index.tolist()])
    perturbation = problem.confine(noise.to(clean)) * (epsilon * problem.window)
    return into_ball(clean + perturbation, problem, epsilon=epsilon, norm=norm)


def _unit_noise(shape: torch.Size, norm: str, seed: int, index: int) -> Tensor:
    """A point drawn uniformly from the unit ball, (C,spatial)."""
    generator = image_generator(seed, index)
    if norm == "linf":
        return 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
    radius = torch.rand((), generator=generator, dtype=torch.float64) ** (1 / shape.numel())
    point = torch.randn(shape, generator=generator, dtype=torch.float64)
    return radius * point / torch.linalg.vector_norm(point)
