# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Random noise of the size of an attack: the control every attack is measured against."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from monai_shield.attacks.ball import NORMS, Ball
from monai_shield.attacks.base import Attack, Examples
from monai_shield.attacks.loop import outcome_at
from monai_shield.attacks.problem import Outcome, Problem
from monai_shield.attacks.settings import check_at_least, check_one_of
from monai_shield.info import Info


@dataclass(eq=False)
class UniformNoise(Attack):
    """Noise drawn uniformly from the ball ‖r‖ ≤ epsilon · window, no gradient: what an attack of that size must beat.

    Success is that of an untargeted attack. Also an image with nothing to attack gets its noise.

    Args:
        epsilon: radius of the ball, as a fraction of the window.
        norm: norm of the ball, "linf" or "l2".
        seed: the noise of an image comes from (seed, its index).
    """

    info: ClassVar[Info] = Info("Uniform noise", "control")
    examples: ClassVar[Examples] = ({"epsilon": 0.1}, {"epsilon": 2.0, "norm": "l2"})

    epsilon: float
    norm: str = "linf"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0, epsilon=self.epsilon)
        check_one_of(NORMS, norm=self.norm)

    def _run(self, network: nn.Module, problem: Problem) -> Outcome:
        noisy = Ball(self.epsilon, self.norm).draw(problem, self.seed)
        return outcome_at(network, noisy, problem, self.success_criterion())
