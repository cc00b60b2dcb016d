# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Projected gradient descent."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import nn

from monai_shield.attacks.base import Attack, AttackInfo
from monai_shield.attacks.loop import (
    DIRECTIONS,
    KEEP,
    NORMS,
    Direction,
    Loss,
    Projection,
    Steepest,
    StepRule,
    ascend,
    into_ball,
)
from monai_shield.attacks.losses import loss_called, tracked_for
from monai_shield.attacks.noise import add_noise
from monai_shield.attacks.problem import Outcome, Problem
from monai_shield.attacks.targets import Target


@dataclass(eq=False)
class PGD(Attack):
    """Projected gradient descent (Madry et al. 2018, arXiv 1706.06083).

    From a random point of the ball, with Π the projection onto the ball ‖x − x₀‖ ≤ epsilon · window and the bounds::

        x ← Π(x + step · window · sign ∇L(x))         norm "linf"
        x ← Π(x + step · window · ∇L(x) / ‖∇L(x)‖₂)   norm "l2"

    L grows away from the label, or toward the adversarial label when there is a ``target``; then the pixels whose label
    is the adversarial one already are no part of it. Of all the iterates each image keeps the one with the highest L.
    Other settings are those of :class:`~monai_shield.attacks.base.Attack`.

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
            that hold out.

    Raises:
        ValueError: when a setting is out of its range.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="PGD",
        paper="Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks",
        year=2018,
        arxiv="1706.06083",
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
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {NORMS}, got {self.norm!r}.")
        if self.keep not in KEEP:
            raise ValueError(f"keep must be one of {KEEP}, got {self.keep!r}.")
        loss_called(self.loss)
        if not self.epsilon >= 0 or self.max_steps < 1 or (self.step_size is not None and not self.step_size > 0):
            raise ValueError(
                f"epsilon, max_steps and step_size must be positive, "
                f"got {self.epsilon}, {self.max_steps} and {self.step_size}."
            )

    def _run(self, network: nn.Module, problem: Problem) -> Outcome:
        return self._climb(network, problem, self.loss)

    def _climb(self, network: nn.Module, problem: Problem, loss: str | Loss) -> Outcome:
        """One run with one loss."""
        start = add_noise(problem, epsilon=self.epsilon, norm=self.norm, seed=self.seed) if self.random_start else None
        return ascend(
            network,
            problem,
            loss=loss_called(loss),
            rule=self._rule(),
            held=self.hold_out_rule(problem),
            criterion=self.success_criterion(),
            max_steps=self.max_steps,
            start=start,
            stop_early=self.stop_early,
            keep=self.keep,
            track=tracked_for(loss),
        )

    def _rule(self) -> StepRule:
        """A step rule for one run."""
        return Steepest(self._direction(), self._project(self.epsilon), self._step())

    def _direction(self) -> Direction:
        return DIRECTIONS["sign" if self.norm == "linf" else "l2"]

    def _project(self, epsilon: float) -> Projection:
        return partial(into_ball, epsilon=epsilon, norm=self.norm)

    def _step(self) -> float:
        return self.reach * self.epsilon / self.max_steps if self.step_size is None else self.step_size
