# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Dense Adversary Generation."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from monai_shield.attacks.ball import NORMS, unit_l2, unit_linf
from monai_shield.attacks.base import Attack, Examples
from monai_shield.attacks.loop import Steepest, ascend, into_bounds
from monai_shield.attacks.problem import AnyOtherClass, Outcome, Problem
from monai_shield.attacks.settings import check_at_least, check_one_of, check_positive
from monai_shield.attacks.targets import Target
from monai_shield.info import Info


@dataclass(eq=False)
class DAG(Attack):
    """Dense Adversary Generation (Xie et al. 2017, arXiv 1703.08603).

    Attacked are the pixels t whose label l_t differs from the adversarial label l′_t, inside the mask, neither void nor
    (unless ``attack_background``) labeled background. On those still predicted as their label, T_m::

        g = ∇_x Σ_{t ∈ T_m} [z_{l′_t}(x) − z_{l_t}(x)],    x ← clamp(x + step · window · g / ‖g‖)

    with z the logits, until no more than ``stop_share`` of the attacked pixels is predicted as its label. There is no
    bound on the size of the perturbation but the number of steps and the intensity bounds.

    The published settings have constructors of their own, :meth:`xie` and :meth:`park`.

    Args:
        target: adversarial label: a rule by name ("background", "exchange", "dilate", "runner_up"), a rule
            (:mod:`monai_shield.attacks.targets`), or a tensor (B,1,spatial) or (B,spatial).
        step: length of a step under ``norm``, as a fraction of the window.
        norm: norm that a step has, over the whole image: "linf" or "l2".
        max_steps: steps at most.
    """

    info: ClassVar[Info] = Info(
        "DAG", "Xie et al., Adversarial Examples for Semantic Segmentation and Object Detection", 2017, "1703.08603"
    )
    examples: ClassVar[Examples] = (
        {"step": 0.02, "max_steps": 12},
        {"step": 0.3, "norm": "l2", "max_steps": 6, "target": "runner_up", "attack_background": True},
    )
    problem_type: ClassVar[type[Problem]] = AnyOtherClass

    target: Target = "background"
    step: float = 0.5 / 255
    norm: str = "linf"
    max_steps: int = 200
    attack_background: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(step=self.step)
        check_at_least(0, max_steps=self.max_steps)
        check_one_of(NORMS, norm=self.norm)

    @classmethod
    def xie(cls, target: Target = "background", **settings: Any) -> Self:
        """As its own paper has it: steps of 0.5 on a scale of 255 under L∞, 200 at most (arXiv 1703.08603)."""
        return cls(**{"target": target, "step": 0.5 / 255, "norm": "linf", "max_steps": 200, **settings})

    @classmethod
    def park(cls, target: Target = "background", **settings: Any) -> Self:
        """As Park et al. used it: steps of 0.5 under L2 on images in [0, 1], 20 at most (arXiv 2009.11090)."""
        return cls(**{"target": target, "step": 0.5, "norm": "l2", "max_steps": 20, **settings})

    def _run(self, network: nn.Module, problem: Problem) -> Outcome:
        return ascend(
            network,
            problem,
            loss=logit_gap,
            rule=Steepest(unit_linf if self.norm == "linf" else unit_l2, into_bounds, self.step),
            criterion=self.success_criterion(),
            max_steps=self.max_steps,
        )


def logit_gap(logits: Tensor, problem: Problem, not_fooled: Tensor, progress: float) -> Tensor:
    """Σ [z_adversarial − z_label] over the pixels not yet fooled (B,spatial), per image (B,); logits (B,K,spatial)."""
    assert problem.target is not None  # DAG always has one
    pair = logits.gather(1, torch.stack([problem.target, problem.label], dim=1))
    return ((pair[:, 0] - pair[:, 1]) * not_fooled).flatten(1).sum(1)
