# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Detection by how unsure the target is."""

import torch
import torch.nn.functional as F

from monai_shield.detectors.base import Detector
from monai_shield.detectors.precision import at_least_float32, full_precision
from monai_shield.detectors.views import Views
from monai_shield.info import Info
from monai_shield.networks.heads import Head, binary_logits, head_of


def entropy(logits: torch.Tensor, head: Head | None = None) -> torch.Tensor:
    r"""
    Entropy of a prediction at every pixel, :math:`H(p) = -\sum_k p_k \log p_k`, in nats.

    Args:
        logits: (B, K, H, W[, D]).
        head: see :func:`~monai_shield.networks.head_of`. Of a sigmoid head every channel is a label of its own; their
            entropies are averaged.

    Returns:
        (B, H, W[, D]), between 0 and log K, or log 2 of a sigmoid head, in float32 or float64 whatever autocast does.
    """
    if head_of(logits, head) == "sigmoid":
        return entropy(binary_logits(logits), "softmax").mean(dim=1)
    with full_precision(logits):
        log_p = F.log_softmax(at_least_float32(logits), dim=1)
        return -(log_p.exp() * log_p).sum(dim=1)


class MeanEntropy(Detector):
    """
    Mean entropy of the target's prediction on the image (Smith and Gal 2018, arXiv 1803.08533).

    It costs one pass of the target, and nothing where that is the answer. It sees attacks that stop where the target
    is in doubt. One that goes on until the target is sure of the wrong label has a *low* entropy, and passes.

    Args:
        foreground_only: average over the foreground instead of all pixels, so that a small head is not diluted.
    """

    info = Info(
        "entropy of the prediction",
        "Smith and Gal, Understanding Measures of Uncertainty for Adversarial Example Detection",
        2018,
        "1803.08533",
    )

    def __init__(self, foreground_only: bool = True) -> None:
        super().__init__()
        self.foreground_only = foreground_only

    def forward(self, views: Views) -> torch.Tensor:
        unsure = entropy(views.prediction, views.head)
        return views.mean_over_foreground(unsure) if self.foreground_only else unsure.flatten(1).mean(dim=1)
