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
"""Detection by how far the target's prediction moves when its input is reformed."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from monai_shield.networks.heads import Head, binary_logits, head_of

from .base import Detector
from .precision import at_least_float32, full_precision
from .views import Views

__all__ = ["PredictionConsistency", "jensen_shannon"]


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
        body_only: average over the body instead of all pixels, so that a small head is not diluted.
        reformer: another reformer than the shield's. With a filter that needs no training this is feature squeezing
            (Xu et al. 2018, arXiv 1704.01155), a baseline that costs nothing.
    """

    info = {"title": "prediction consistency", "source": "arXiv 1705.09064"}  # noqa: RUF012

    def __init__(self, body_only: bool = True, reformer: torch.nn.Module | None = None) -> None:
        super().__init__()
        self.reformer = reformer
        self.body_only = body_only

    def forward(self, views: Views) -> torch.Tensor:
        other = views.reformed_prediction if self.reformer is None else views.prediction_under(self.reformer)
        moved = jensen_shannon(views.prediction, other, views.head)
        return views.mean_over_body(moved) if self.body_only else moved.flatten(1).mean(dim=1)
