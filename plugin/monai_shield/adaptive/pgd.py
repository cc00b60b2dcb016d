# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""An attacker who knows the whole shield."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from monai_shield.adaptive.shielded import ShieldedNetwork
from monai_shield.attacks.ball import Ball
from monai_shield.attacks.loop import Loss
from monai_shield.attacks.losses import loss_called
from monai_shield.attacks.pgd import PGD
from monai_shield.attacks.problem import Outcome, Problem
from monai_shield.detectors import Detector
from monai_shield.info import Info
from monai_shield.networks.heads import Head
from monai_shield.transforms.foreground import DEFAULT_FOREGROUND, Foreground


@dataclass(eq=False, kw_only=True)
class AdaptivePGD(PGD):
    """PGD through reformer and target that keeps the detector's score under its threshold (Carlini and Wagner 2017,
    arXiv 1711.08478; Tramer et al. 2020, arXiv 2002.08347)::

        L(x) = CE(target(reformer(x)), y) − penalty · max(0, score(x) − threshold + margin)

    CE stands for the ``loss``; where the detector has several thresholds, each adds a penalty of its own. The attack
    starts at the clean image, which the detector accepts, unless ``random_start`` is set.

    Before the first step it checks that a gradient passes the reformer and comes from each score; else the attack
    would find nothing and the shield look safe. It refuses with a ``ValueError`` that names the part, which is to be
    wrapped in :class:`~monai_shield.attacks.BPDA`. Its other settings are those of
    :class:`~monai_shield.attacks.pgd.PGD`.

    Args:
        detector: calibrated detector of the shield.
        reformer: reformer of the shield.
        penalty: price of a score above the threshold, in units of cross entropy per unit of score; 0 leaves the
            detector out.
        margin: how far below the threshold the score is to stay.
        head: what the target's channels stand for; None to read it. With a sigmoid of several channels a label holds
            combinations of them, as :meth:`~monai_shield.attacks.MultiLabel.encode` writes it.
        foreground: which pixels are foreground to the detector.
    """

    info: ClassVar[Info] = Info(
        "adaptive PGD",
        "Carlini and Wagner, MagNet and Efficient Defenses Against Adversarial Attacks are Not Robust",
        2017,
        "1711.08478",
    )

    detector: Detector
    reformer: nn.Module | None = None
    penalty: float = 10.0
    margin: float = 0.1
    head: Head | None = None
    foreground: Foreground = DEFAULT_FOREGROUND
    random_start: bool = False

    def _attacked_network(self, network: nn.Module) -> ShieldedNetwork:
        self.detector.calibrated()
        return ShieldedNetwork(network, self.detector, self.reformer, self.head, self.foreground)

    def _climb(self, network: nn.Module, problem: Problem, loss: str | Loss) -> Outcome:
        assert isinstance(network, ShieldedNetwork)
        # at a random point: at a clean image a gradient may vanish, as that of an absolute value does at 0
        network.check_gradients(Ball(self.epsilon, self.norm).draw(problem, self.seed), scores=self.penalty > 0)
        wrong = loss_called(loss)

        def penalized(logits: Tensor, part: Problem, not_fooled: Tensor, progress: float) -> Tensor:
            excesses = self.detector.excesses(network.views).values()  # the network was just run on this batch
            excess = torch.stack([(each + self.margin).relu() for each in excesses]).sum(0)
            return wrong(logits, part, not_fooled, progress) - self.penalty * excess

        return super()._climb(network, problem, penalized)
