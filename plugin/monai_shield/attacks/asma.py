# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The adaptive segmentation mask attack."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from monai_shield.attacks.base import Attack, Examples
from monai_shield.attacks.loop import StepRule, ascend
from monai_shield.attacks.problem import Outcome, Problem, per_image
from monai_shield.attacks.settings import check_at_least, check_positive
from monai_shield.attacks.targets import Target
from monai_shield.info import Info


@dataclass(eq=False)
class ASMA(Attack):
    """Adaptive segmentation mask attack (Ozbulak et al. 2019, arXiv 1907.13124).

    On the attacked pixels that are not yet predicted as their adversarial label, T_m, with z the logits and x₀ the
    clean image::

        x ← clamp(x + (beta · IoU + tau) · ∇_x [Σ_{t ∈ T_m} z_{l′_t}(x) − ‖x − x₀‖₂²])

    until no more than ``stop_share`` of the attacked pixels is anything else than its adversarial label. The mask T_m
    adapts to the prediction, and the multiplier grows with the IoU of the prediction and the adversarial label: a few
    pixels that are left would hardly move the image otherwise. A step is as long as the gradient is, no norm bounds it;
    so the perturbation is small where the steps are, but not the smallest. The squared distance pulls a pixel back
    ever more, the farther it is: where the logits rise slowly the attack stands still before it is done.

    Where the paper leaves a choice: the gradient and the distance are taken in units of the window, so that beta and
    tau do not depend on the unit of intensity. The IoU is that on the attacked pixels, the mean over the classes that
    the prediction or the adversarial label has there, background included (the paper has one class and background, and
    takes the whole image).

    Args:
        target: adversarial label as in :class:`~monai_shield.attacks.dag.DAG`.
        beta: how much the multiplier grows from an IoU of 0 to one of 1.
        tau: multiplier at an IoU of 0.
        max_steps: steps at most.
    """

    info: ClassVar[Info] = Info(
        "ASMA",
        "Ozbulak et al., Impact of Adversarial Examples on Deep Learning Models for Biomedical Image Segmentation",
        2019,
        "1907.13124",
    )
    examples: ClassVar[Examples] = ({"beta": 0.02, "tau": 0.01, "max_steps": 8, "target": "runner_up"},)

    target: Target = "background"
    beta: float = 1e-6
    tau: float = 1e-7
    max_steps: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0, beta=self.beta, max_steps=self.max_steps)
        check_positive(tau=self.tau)

    def _run(self, network: nn.Module, problem: Problem) -> Outcome:
        return ascend(
            network,
            problem,
            loss=target_logit,
            rule=Multiplied(self.beta, self.tau),
            criterion=self.success_criterion(),
            max_steps=self.max_steps,
            track=target_iou,
        )


@dataclass
class Multiplied(StepRule):
    """Step rule of :class:`ASMA`, with its ``beta`` and ``tau``; the tracked loss is the IoU."""

    beta: float
    tau: float

    def __call__(self, image: Tensor, gradient: Tensor, value: Tensor, problem: Problem) -> Tensor:
        distance = (image - problem.image) / problem.window
        multiplier = per_image(self.beta * value + self.tau, image).to(image)
        ascent = gradient * problem.window - 2 * distance
        return problem.clamp(image + multiplier * problem.window * ascent)


def target_logit(logits: Tensor, problem: Problem, not_fooled: Tensor, progress: float) -> Tensor:
    """Σ z_adversarial over the pixels not yet fooled (B,spatial), per image (B,); logits (B,K,spatial)."""
    assert problem.target is not None  # ASMA always has one
    return (logits.gather(1, problem.target.unsqueeze(1)).squeeze(1) * not_fooled).flatten(1).sum(1)


def target_iou(logits: Tensor, problem: Problem, not_fooled: Tensor, progress: float) -> Tensor:
    """Mean IoU (B,) of prediction and adversarial label on the attacked pixels, over the classes that either has."""
    assert problem.target is not None
    prediction = logits.max(1).indices
    ious, there = [], []
    for structure in range(logits.shape[1]):
        found, wanted = ((each == structure) & problem.attacked for each in (prediction, problem.target))
        either = (found | wanted).flatten(1).sum(1)
        ious.append((found & wanted).flatten(1).sum(1).double() / either.clamp(min=1))
        there.append(either > 0)
    return torch.stack(ious).sum(0) / torch.stack(there).sum(0).clamp(min=1)
