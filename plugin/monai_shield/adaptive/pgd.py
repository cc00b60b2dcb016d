# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""An attacker who knows the whole shield."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from monai_shield.attacks import MultiLabel
from monai_shield.attacks.base import AttackInfo, AttackResult
from monai_shield.attacks.losses import loss_called
from monai_shield.attacks.pgd import PGD
from monai_shield.attacks.problem import Problem
from monai_shield.detectors import Detector, Views
from monai_shield.networks.heads import Head, class_logits


class ShieldedNetwork(nn.Module):
    """
    Reformer and target as one network, which remembers the detector's score of the last batch.

    Args:
        target: the network that is defended.
        detector: scores the image.
        reformer: image to image.
        head: what the target's channels stand for; None to read it, see :func:`~monai_shield.networks.head_of`.

    Raises:
        ValueError: where `head` is "sigmoid" and the target is a :class:`~monai_shield.attacks.MultiLabel` already: its
            channels are combinations of labels, which the shield's detector never sees.
    """

    def __init__(
        self, target: nn.Module, detector: Detector, reformer: nn.Module | None, head: Head | None = None
    ) -> None:
        super().__init__()
        if head == "sigmoid" and isinstance(target, MultiLabel):
            raise ValueError("head 'sigmoid' is declared: give the network itself, not a MultiLabel around it.")
        self.target = target
        self.detector = detector
        self.reformer = reformer
        self.head = head
        self.score: Tensor | None = None

    def forward(self, image: Tensor) -> Tensor:
        """Logits of classes that exclude each other (B,K,spatial) of the reformed image (B,C,spatial), see
        :func:`~monai_shield.networks.class_logits`; the detector scores the target's own."""
        views = Views(image, self.target, self.reformer, head=self.head)
        self.score = self.detector(views)
        return class_logits(views.reformed_prediction, self.head)


@dataclass(eq=False, kw_only=True)
class AdaptivePGD(PGD):
    """PGD through reformer and target that keeps the detector's score under its threshold (Carlini and Wagner 2017,
    arXiv 1711.08478; Tramer et al. 2020, arXiv 2002.08347)::

        L(x) = CE(target(reformer(x)), y) − penalty · max(0, score(x) − threshold + margin)

    CE stands for the ``loss``. Every part of the shield has a gradient, so none is approximated. The starting point of
    the attack is the clean image, which the detector accepts, unless ``random_start`` is set. Its other settings are
    those of :class:`~monai_shield.attacks.pgd.PGD`.

    Args:
        detector: calibrated detector of the shield.
        reformer: reformer of the shield.
        penalty: price of a score above the threshold, in units of cross entropy per unit of score.
        margin: how far below the threshold the score is to stay.
        head: what the target's channels stand for; None to read it. With a sigmoid of several channels a label holds
            combinations of them, as :meth:`~monai_shield.attacks.MultiLabel.encode` writes it.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="adaptive PGD",
        paper="Carlini and Wagner, MagNet and Efficient Defenses Against Adversarial Attacks are Not Robust",
        year=2017,
        arxiv="1711.08478",
    )

    detector: Detector
    reformer: nn.Module | None = None
    penalty: float = 10.0
    margin: float = 0.1
    head: Head | None = None
    random_start: bool = False

    def __call__(
        self,
        network: nn.Module,
        image: Tensor,
        label: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        index: Sequence[int] | None = None,
    ) -> AttackResult:
        """Attack the shield around ``network``; arguments and result are those of every attack."""
        threshold = self.detector.calibrated().threshold
        shielded = ShieldedNetwork(network, self.detector, self.reformer, self.head)
        wrong = loss_called(self.loss)

        def loss(logits: Tensor, problem: Problem, held: Tensor, progress: float) -> Tensor:
            assert shielded.score is not None  # the network was just run on this batch
            excess = functional.relu(shielded.score - threshold + self.margin)
            return wrong(logits, problem, held, progress) - self.penalty * excess

        settings = {each.name: getattr(self, each.name) for each in fields(PGD)}
        attack = PGD(**settings | {"loss": loss})
        return attack(shielded, image, label, mask, index=index)
