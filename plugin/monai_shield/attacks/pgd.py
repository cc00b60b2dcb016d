# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Projected gradient descent."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from monai_shield.attacks.ball import NORMS, Ball
from monai_shield.attacks.base import Attack, Examples
from monai_shield.attacks.loop import KEEP, Loss, Steepest, StepRule, ascend
from monai_shield.attacks.losses import loss_called, tracked_for
from monai_shield.attacks.problem import Outcome, Problem
from monai_shield.attacks.settings import check_at_least, check_one_of, check_positive
from monai_shield.attacks.targets import Target
from monai_shield.info import Info


@dataclass(eq=False)
class PGD(Attack):
    """Projected gradient descent (Madry et al. 2018, arXiv 1706.06083).

    From a random point of the ball, with Π the projection onto the ball ‖x − x₀‖ ≤ epsilon · window and the bounds::

        x ← Π(x + step · window · sign ∇L(x))         norm "linf"
        x ← Π(x + step · window · ∇L(x) / ‖∇L(x)‖₂)   norm "l2"

    L grows away from the label, or toward the adversarial label when there is a ``target``; then the pixels whose label
    is the adversarial one already are no part of it. Of all the iterates each image keeps the one with the highest L.

    Args:
        epsilon: budget, as a fraction of the window.
        step_size: length of a step, as a fraction of the window; by default 2.5 · epsilon / max_steps.
        max_steps: number of steps.
        norm: norm of the budget, "linf" or "l2".
        random_start: whether to start at a random point of the ball, not at the clean image.
        seed: the start of an image comes from (seed, its index).
        loss: a name in :data:`~monai_shield.attacks.losses.LOSSES`, or a callable like those.
        target: adversarial label as in :class:`~monai_shield.attacks.dag.DAG`; None for an untargeted attack.
        stop_early: whether an image stops at its first success.
        keep: which iterate an image keeps: the "last" one, the one with the "highest" loss (by cross entropy, where
            the values of the loss cannot be compared between iterates), or the last of those with the "fewest" pixels
            not yet fooled.
    """

    info: ClassVar[Info] = Info(
        "PGD", "Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks", 2018, "1706.06083"
    )
    examples: ClassVar[Examples] = (
        {"epsilon": 0.1, "max_steps": 6},
        {"epsilon": 2.0, "norm": "l2", "max_steps": 6, "stop_early": True},
        {"epsilon": 0.1, "max_steps": 6, "target": "background", "random_start": False},
    )
    reach: ClassVar[float] = 2.5  # way all the steps could go together, in radii

    epsilon: float
    step_size: float | None = None
    max_steps: int = 40
    norm: str = "linf"
    random_start: bool = True
    seed: int = 0
    loss: str | Loss = "cross_entropy"
    target: Target | None = None
    stop_early: bool = False
    keep: str = "highest"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0, epsilon=self.epsilon)
        check_at_least(1, max_steps=self.max_steps)
        check_positive(step_size=self.step_size)
        check_one_of(NORMS, norm=self.norm)
        check_one_of(KEEP, keep=self.keep)
        loss_called(self.loss)

    def _run(self, network: nn.Module, problem: Problem) -> Outcome:
        return self._climb(network, problem, self.loss)

    def _climb(self, network: nn.Module, problem: Problem, loss: str | Loss) -> Outcome:
        """One run with one loss."""
        ball = Ball(self.epsilon, self.norm)
        return ascend(
            network,
            problem,
            loss=loss_called(loss),
            rule=self._rule(ball),
            criterion=self.success_criterion(),
            max_steps=self.max_steps,
            start=ball.draw(problem, self.seed) if self.random_start else None,
            stop_early=self.stop_early,
            keep=self.keep,
            track=tracked_for(loss),
        )

    def _rule(self, ball: Ball) -> StepRule:
        """A step rule for one run."""
        return Steepest(ball.direction, ball.project, self._step())

    def _step(self) -> float:
        """Length of a step, as a fraction of the window."""
        return self.reach * self.epsilon / self.max_steps if self.step_size is None else self.step_size
