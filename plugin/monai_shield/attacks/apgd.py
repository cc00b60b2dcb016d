# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Auto-PGD: projected gradient descent that finds the length of its steps by itself."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import ClassVar

import torch
from torch import Tensor, nn

from monai_shield.attacks.ball import Ball
from monai_shield.attacks.base import Examples
from monai_shield.attacks.loop import Loss, StepRule, ascend
from monai_shield.attacks.losses import loss_called, tracked_for
from monai_shield.attacks.pgd import PGD
from monai_shield.attacks.problem import Outcome, Problem, per_image
from monai_shield.info import Info


@dataclass
class Halving(StepRule):
    """Step rule of Auto-PGD (Croce and Hein 2020, arXiv 2003.01690), with Π the projection onto the ball::

        z ← Π(x + step · window · direction(g)),    x′ ← Π(x + 0.75 (z − x) + 0.25 (x − x⁻))

    where x⁻ is the iterate before x. At each checkpoint an image halves its step and goes back to its best iterate when
    since the last one the tracked loss rose in no more than 0.75 of the steps, or when its step was not halved there
    and its best loss has not risen since.

    Args:
        ball: what is allowed.
        step: length of the first step, as a fraction of the window.
        checks: numbers of steps after which to check, rising.
    """

    ball: Ball
    step: float
    checks: Sequence[int]

    def __call__(self, image: Tensor, gradient: Tensor, value: Tensor, problem: Problem) -> Tensor:
        now = self.memory
        if self.taken == 0:
            # no momentum at the first step: its iterate before is itself, and it goes all the way
            now.update(before=image, last=value, rises=torch.zeros_like(value), step=torch.full_like(value, self.step))
            now.update(best_image=image, best_gradient=gradient, best=value)
            now.update(checked=value, halved=torch.ones_like(value, dtype=torch.bool))
        else:
            now["rises"] = now["rises"] + (value > now["last"])
            now["last"] = value
            higher = value > now["best"]
            now["best"] = torch.where(higher, value, now["best"])
            now["best_image"] = torch.where(per_image(higher, image), image, now["best_image"])
            now["best_gradient"] = torch.where(per_image(higher, image), gradient, now["best_gradient"])
            if self.taken in self.checks:
                image, gradient = self._check(image, gradient)

        keep = 0.75 if self.taken > 0 else 1.0
        step = per_image(now["step"], image) * problem.window
        ahead = self.ball.project(image + step * self.ball.direction(gradient), problem)
        following = self.ball.project(image + keep * (ahead - image) + (1 - keep) * (image - now["before"]), problem)
        now["before"] = image
        self.taken += 1
        return following

    def _check(self, image: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Halve the step where it is too long; the image and gradient (B,C,spatial) to go on from."""
        now = self.memory
        since = self.taken - max((check for check in self.checks if check < self.taken), default=0)
        halve = (now["rises"] <= 0.75 * since) | (~now["halved"] & (now["best"] <= now["checked"]))
        now["step"] = torch.where(halve, now["step"] / 2, now["step"])
        now.update(halved=halve, checked=now["best"], rises=torch.zeros_like(now["rises"]))
        back = per_image(halve, image)
        return torch.where(back, now["best_image"], image), torch.where(back, now["best_gradient"], gradient)


@dataclass(eq=False)
class APGD(PGD):
    """Auto-PGD (Croce and Hein 2020, arXiv 2003.01690): PGD with momentum and a step that each image halves by itself.

    The rule is :class:`Halving`, the checkpoints are those of :func:`checkpoints`. An image keeps the iterate with the
    fewest pixels not yet fooled. With ``radii`` it starts in a larger ball and goes on from there, projected, in
    smaller ones (Croce et al. 2024, arXiv 2306.12941); only iterates of the last ball count. Its other settings are
    those of :class:`~monai_shield.attacks.pgd.PGD`.

    Args:
        step_size: length of the first step, as a fraction of the window; by default twice the radius of the ball.
        max_steps: number of steps in all balls together.
        radii: radii of the balls one after the other, as multiples of epsilon; the last is 1.
        shares: share of the steps in each ball.
    """

    info: ClassVar[Info] = Info(
        "APGD",
        "Croce and Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse "
        "Parameter-Free Attacks",
        2020,
        "2003.01690",
    )
    examples: ClassVar[Examples] = (
        {"epsilon": 0.1, "max_steps": 12},
        {"epsilon": 2.0, "norm": "l2", "max_steps": 12, "stop_early": True, "stop_share": 0.4},
    )

    max_steps: int = 100
    keep: str = "fewest"
    radii: Sequence[float] = (1.0,)
    shares: Sequence[float] = (1.0,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.radii) == 0 or self.radii[-1] != 1 or not all(radius >= 1 for radius in self.radii):
            raise ValueError(f"radii must be at least 1 and end with 1, got {self.radii}.")
        one_each = len(self.shares) == len(self.radii) and math.isclose(sum(self.shares), 1)
        if not one_each or not all(share > 0 for share in self.shares):
            raise ValueError(f"shares must be positive, one for each of the radii, with a sum of 1, got {self.shares}.")

    def _climb(self, network: nn.Module, problem: Problem, loss: str | Loss) -> Outcome:
        """One run with one loss, through all the balls."""
        balls = [Ball(radius * self.epsilon, self.norm) for radius in self.radii]
        ends = [0, *(round(share * self.max_steps) for share in accumulate(self.shares))]
        image = balls[0].draw(problem, self.seed) if self.random_start else problem.image
        steps = torch.zeros(len(image), dtype=torch.long, device=image.device)
        for ball, begin, end in zip(balls, ends, ends[1:]):
            step = 2 * ball.epsilon if self.step_size is None else self.step_size
            outcome = ascend(
                network,
                problem,
                loss=loss_called(loss),
                rule=Halving(ball, step, checkpoints(end - begin)),
                criterion=self.success_criterion(),
                max_steps=end - begin,
                start=ball.project(image, problem),
                stop_early=self.stop_early and ball is balls[-1],
                keep=self.keep,
                track=tracked_for(loss),
            )
            image, steps = outcome.image, steps + outcome.steps
        return replace(outcome, steps=steps)


def checkpoints(max_steps: int) -> list[int]:
    """Numbers of steps ⌈p · max_steps⌉ below ``max_steps``, those of the whole run, with p₀ = 0, p₁ = 0.22 and
    pⱼ₊₁ = pⱼ + max(pⱼ − pⱼ₋₁ − 0.03, 0.06): less and less apart."""
    checks: set[int] = set()
    percent, gap = 22, 22  # in hundredths, as rounding would move a checkpoint
    while percent < 100:
        checks.add(-(-percent * max_steps // 100))
        gap = max(gap - 3, 6)
        percent += gap
    return sorted(checks - {max_steps})
