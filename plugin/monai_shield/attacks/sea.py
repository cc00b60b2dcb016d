# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The segmentation ensemble attack: what is left of an image after the strongest of several attacks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from monai_shield.attacks.apgd import APGD
from monai_shield.attacks.base import Examples
from monai_shield.attacks.loop import Loss
from monai_shield.attacks.losses import loss_called
from monai_shield.attacks.problem import Outcome, Problem
from monai_shield.info import Info


@dataclass(eq=False)
class SEA(APGD):
    """Segmentation ensemble attack (Croce et al. 2024, arXiv 2306.12941): the worst of one APGD for each loss.

    Of its runs each image keeps one that succeeded, among those the one after which the fewest attacked pixels are not
    yet fooled, of equal ones the first. A run goes through balls of 2, 1.5 and 1 times epsilon. ``steps`` are those of
    all the runs an image took part in; with ``stop_early`` an image sits out the runs after its first success. Its
    other settings are those of :class:`~monai_shield.attacks.apgd.APGD`.

    Args:
        max_steps: number of steps of each run.
        losses: the loss of each run: names in :data:`~monai_shield.attacks.losses.LOSSES`, or callables like those.
    """

    info: ClassVar[Info] = Info(
        "SEA",
        "Croce et al., Towards Reliable Evaluation and Fast Training of Robust Semantic Segmentation Models",
        2024,
        "2306.12941",
    )
    examples: ClassVar[Examples] = (
        {"epsilon": 0.1, "max_steps": 10},
        {"epsilon": 0.1, "max_steps": 10, "stop_early": True, "stop_share": 0.4, "target": "runner_up"},
    )

    loss: str | Loss = field(default="cross_entropy", init=False)
    max_steps: int = 300
    radii: Sequence[float] = (2.0, 1.5, 1.0)
    shares: Sequence[float] = (0.3, 0.3, 0.4)
    losses: Sequence[str | Loss] = ("masked_cross_entropy", "seg_pgd", "jensen_shannon", "masked_norm_correlation")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.losses) == 0:
            raise ValueError("losses must name one at least.")
        for loss in self.losses:
            loss_called(loss)

    def _run(self, network: nn.Module, problem: Problem) -> Outcome:
        worst = self._climb(network, problem, self.losses[0])
        rows = torch.arange(len(worst.steps), device=worst.steps.device)  # images that still take part
        for loss in self.losses[1:]:
            if self.stop_early:
                rows = rows[~worst.success[rows]]
                if len(rows) == 0:
                    break
            run = self._climb(network, problem.select(rows), loss)
            worst.steps[rows] += run.steps
            worst.take_stronger(rows, run)
        return worst
