# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Detection by how far the target's prediction moves when its input is reformed."""

import torch
import torch.nn.functional as F

from monai_shield.detectors.base import Detector
from monai_shield.detectors.precision import at_least_float32, full_precision
from monai_shield.detectors.views import Views
from monai_shield.info import Info
from monai_shield.networks.heads import Head, binary_logits, head_of


def jensen_shannon(first: torch.Tensor, second: torch.Tensor, head: Head | None = None) -> torch.Tensor:
    r"""
    Jensen-Shannon divergence of two predictions at every pixel, in nats.

    .. math:: \mathrm{JS}(p, q) = \tfrac12 \mathrm{KL}(p \| m) + \tfrac12 \mathrm{KL}(q \| m), \quad m = \tfrac{p+q}2

    Args:
        first: logits, (B, K, H, W[, D]).
        second: logits of the same shape.
        head: see :func:`~monai_shield.networks.head_of`. Of a sigmoid head every channel is a label of its own; their
            divergences are averaged.

    Returns:
        (B, H, W[, D]), between 0 and log 2, in float32 or float64 whatever autocast does.
    """
    if head_of(first, head) == "sigmoid":
        return jensen_shannon(binary_logits(first), binary_logits(second), "softmax").mean(dim=1)
    with full_precision(first):
        log_p, log_q = (F.log_softmax(at_least_float32(each), dim=1) for each in (first, second))
        log_m = torch.logaddexp(log_p, log_q) - torch.log(torch.tensor(2.0, dtype=log_p.dtype))
        divergence = 0.5 * (log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)).sum(dim=1)
    return divergence.clamp_min(0)


class PredictionConsistency(Detector):
    """
    Mean Jensen-Shannon divergence between the target's prediction on the image and on the reformed image.

    Costs one more pass of the target, and shares it with the answer. MagNet's second detector (Meng and Chen 2017,
    arXiv 1705.09064), carried from one softmax an image to one a pixel.

    Args:
        foreground_only: average over the foreground instead of all pixels, so that a small head is not diluted.
        reformer: another reformer than the shield's. With a filter that needs no training this is feature squeezing
            (Xu et al. 2018, arXiv 1704.01155), a baseline that costs nothing.
    """

    info = Info("prediction consistency", "Meng and Chen, MagNet: a Two-Pronged Defense", 2017, "1705.09064")

    def __init__(self, foreground_only: bool = True, reformer: torch.nn.Module | None = None) -> None:
        super().__init__()
        self.reformer = reformer
        self.foreground_only = foreground_only

    def forward(self, views: Views) -> torch.Tensor:
        other = views.reformed_prediction if self.reformer is None else views.prediction_under(self.reformer)
        moved = jensen_shannon(views.prediction, other, views.head)
        return views.mean_over_foreground(moved) if self.foreground_only else moved.flatten(1).mean(dim=1)
