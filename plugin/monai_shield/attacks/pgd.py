# Copyright (c) The monai-shield authors.
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Projected gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from monai_shield.attacks.base import Attack, AttackInfo, Problem
from monai_shield.attacks.loop import DIRECTIONS, NORMS, Loss, ascend, into_ball, not_yet_target, still_label
from monai_shield.attacks.noise import add_noise
from monai_shield.attacks.targets import TARGETS, Target, adversarial_label

__all__ = ["LOSSES", "PGD", "cross_entropy"]


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
        loss: "cross_entropy", or a callable like :func:`cross_entropy`.
        target: adversarial label as in :class:`~monai_shield.attacks.dag.DAG`; None for an untargeted attack.
        stop_early: whether an image stops at its first success.

    Raises:
        ValueError: when a setting is out of its range.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="PGD",
        paper="Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks",
        year=2018,
        arxiv="1706.06083",
    )

    epsilon: float
    step_size: float | None = None
    max_steps: int = 40
    norm: str = "linf"
    random_start: bool = True
    seed: int = 0
    loss: str | Loss = "cross_entropy"
    target: Target | None = None
    stop_early: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {NORMS}, got {self.norm!r}.")
        if isinstance(self.loss, str) and self.loss not in LOSSES:
            raise ValueError(f"no loss {self.loss!r}; there are {', '.join(sorted(LOSSES))}.")
        if isinstance(self.target, str) and self.target not in TARGETS:
            raise ValueError(f"no target rule {self.target!r}; there are {', '.join(sorted(TARGETS))}.")
        if not self.epsilon >= 0 or self.max_steps < 1 or (self.step_size is not None and not self.step_size > 0):
            raise ValueError(
                f"epsilon, max_steps and step_size must be positive, "
                f"got {self.epsilon}, {self.max_steps} and {self.step_size}."
            )

    def _adversarial_label(self, label: Tensor, logits: Tensor) -> Tensor | None:
        return None if self.target is None else adversarial_label(self.target, label, logits)

    def _run(self, network: nn.Module, problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
        start = add_noise(problem, epsilon=self.epsilon, norm=self.norm, seed=self.seed) if self.random_start else None
        return ascend(
            network,
            problem,
            loss=LOSSES[self.loss] if isinstance(self.loss, str) else self.loss,
            direction=DIRECTIONS["sign" if self.norm == "linf" else "l2"],
            project=partial(into_ball, epsilon=self.epsilon, norm=self.norm),
            held=still_label if problem.target is None else not_yet_target,
            step=2.5 * self.epsilon / self.max_steps if self.step_size is None else self.step_size,
            max_steps=self.max_steps,
            start=start,
            stop_share=self.stop_share if self.stop_early else None,
            keep_best=True,
        )


def cross_entropy(logits: Tensor, problem: Problem, held: Tensor) -> Tensor:
    """Mean cross entropy of the attacked pixels, per image (B,): with the label, or minus that with the target.

    Args:
        logits: logits (B,K,spatial).
        problem: what is asked; its target decides the direction.
        held: pixels that hold out (B,spatial), not used.
    """
    wanted = problem.label if problem.target is None else problem.target
    pixels = functional.cross_entropy(logits, wanted, reduction="none") * problem.attacked
    mean = pixels.flatten(1).sum(1) / problem.attacked.flatten(1).sum(1).clamp(min=1)
    return mean if problem.target is None else -mean


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy}
