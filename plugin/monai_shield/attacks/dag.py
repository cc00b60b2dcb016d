# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Dense Adversary Generation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from monai_shield.attacks.base import Attack, AttackInfo
from monai_shield.attacks.loop import DIRECTIONS, NORMS, Holding, Steepest, ascend, into_bounds, still_label
from monai_shield.attacks.problem import Outcome, Problem
from monai_shield.attacks.targets import Target


@dataclass(eq=False)
class DAG(Attack):
    """Dense Adversary Generation (Xie et al. 2017, arXiv 1703.08603).

    Attacked are the pixels t whose label l_t differs from the adversarial label l′_t, inside the mask, neither void nor
    (unless ``attack_background``) labeled background. On those still predicted as their label, T_m::

        g = ∇_x Σ_{t ∈ T_m} [z_{l′_t}(x) − z_{l_t}(x)],    x ← clamp(x + step · window · g / ‖g‖)

    with z the logits, until no more than ``stop_share`` of the attacked pixels is predicted as its label. There is no
    bound on the size of the perturbation but the number of steps and the intensity bounds.

    The published settings have constructors of their own, :meth:`xie` and :meth:`park`. Other settings are those of
    :class:`~monai_shield.attacks.base.Attack`.

    Args:
        target: adversarial label: a rule by name ("background", "exchange", "dilate", "runner_up"), a rule
            (:mod:`monai_shield.attacks.targets`), or a tensor (B,1,spatial) or (B,spatial).
        step: length of a step under ``norm``, as a fraction of the window.
        norm: norm that a step has, over the whole image: "linf" or "l2".
        max_steps: steps at most.

    Raises:
        ValueError: when a setting is out of its range.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="DAG",
        paper="Xie et al., Adversarial Examples for Semantic Segmentation and Object Detection",
        year=2017,
        arxiv="1703.08603",
    )

    target: Target = "background"
    step: float = 0.5 / 255
    norm: str = "linf"
    max_steps: int = 200
    attack_background: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {NORMS}, got {self.norm!r}.")
        if not self.step > 0 or self.max_steps < 0:
            raise ValueError(f"step and max_steps must be positive, got {self.step} and {self.max_steps}.")

    @classmethod
    def xie(cls, target: Target = "background", **settings: Any) -> DAG:
        """As its own paper has it: steps of 0.5 on a scale of 255 under L∞, 200 at most (arXiv 1703.08603)."""
        return cls(**{"target": target, "step": 0.5 / 255, "norm": "linf", "max_steps": 200, **settings})

    @classmethod
    def park(cls, target: Target = "background", **settings: Any) -> DAG:
        """As Park et al. used it: steps of 0.5 under L2 on images in [0, 1], 20 at most (arXiv 2009.11090)."""
        return cls(**{"target": target, "step": 0.5, "norm": "l2", "max_steps": 20, **settings})

    def hold_out_rule(self, problem: Problem) -> Holding:
        return still_label  # it is content with any other class, not only the adversarial one

    def _run(self, network: nn.Module, problem: Problem) -> Outcome:
        return ascend(
            network,
            problem,
            loss=logit_gap,
            rule=Steepest(DIRECTIONS[self.norm], into_bounds, self.step),
            held=self.hold_out_rule(problem),
            criterion=self.success_criterion(),
            max_steps=self.max_steps,
        )


def logit_gap(logits: Tensor, problem: Problem, held: Tensor, progress: float) -> Tensor:
    """Σ [z_adversarial − z_label] over the pixels that hold out (B,spatial), per image (B,); logits (B,K,spatial)."""
    assert problem.target is not None  # DAG always has one
    pair = logits.gather(1, torch.stack([problem.target, problem.label], dim=1))
    return ((pair[:, 0] - pair[:, 1]) * held).flatten(1).sum(1)
