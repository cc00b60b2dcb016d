# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The stabilized medical image attack."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from monai.networks.layers import GaussianFilter
from torch import Tensor, nn
from torch.nn import functional

from monai_shield.attacks.fgsm import BIM
from monai_shield.attacks.loop import Loss
from monai_shield.attacks.losses import loss_called
from monai_shield.attacks.problem import Outcome, Problem, logits_of
from monai_shield.attacks.settings import check_at_least, check_positive
from monai_shield.info import Info


@dataclass(eq=False)
class SMIA(BIM):
    """Stabilized medical image attack (Qi et al. 2021, arXiv 2103.05232): BIM by the loss::

        L(x) = L_dev(x) − stabilization · KL(p(x₀ + W ∗ (x − x₀)) ‖ p(x))

    with p the softmax and W a Gaussian. The first term, ``loss``, takes the prediction away from the label or to the
    target; the second keeps it close to the prediction under the smoothed perturbation, so that the iterates settle on
    perturbations that do not hang on single pixels. The first step is that of BIM. A step costs one forward pass more.

    Where the paper leaves a choice: the prediction under the smoothed perturbation is what to keep to, not a way for
    the gradient; the divergence is the mean over the attacked pixels, as every loss here; a smoothed perturbation is
    confined and clamped as the perturbation is. Its other settings are those of
    :class:`~monai_shield.attacks.fgsm.BIM`.

    Args:
        stabilization: weight of the second term. Up to 1 it never turns cross entropy's gradient at a pixel around.
        sigma: standard deviation of W, in pixels.
    """

    info: ClassVar[Info] = Info("SMIA", "Qi et al., Stabilized Medical Image Attacks", 2021, "2103.05232")

    stabilization: float = 1.0
    sigma: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0, stabilization=self.stabilization)
        check_positive(sigma=self.sigma)

    def _climb(self, network: nn.Module, problem: Problem, loss: str | Loss) -> Outcome:
        observed = Observed(network)
        deviation = loss_called(loss)
        smooth = GaussianFilter(problem.image.ndim - 2, self.sigma)

        def stabilized(logits: Tensor, part: Problem, not_fooled: Tensor, progress: float) -> Tensor:
            assert observed.image is not None  # the network was just run on this batch
            with torch.no_grad():
                smoothed = part.confine(smooth(observed.image - part.image))
                anchor = logits_of(network, part.clamp(part.image + smoothed)).log_softmax(1)
            divergence = functional.kl_div(logits.log_softmax(1), anchor, reduction="none", log_target=True).sum(1)
            return deviation(logits, part, not_fooled, progress) - self.stabilization * part.mean(divergence)

        return super()._climb(observed, problem, stabilized)


class Observed(nn.Module):
    """A network that remembers the last image it was run on.

    Args:
        network: the network.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.image: Tensor | None = None

    def forward(self, image: Tensor) -> Tensor:
        """What the network returns for an image (B,C,spatial)."""
        self.image = image.detach()
        output: Tensor = self.network(image)
        return output
