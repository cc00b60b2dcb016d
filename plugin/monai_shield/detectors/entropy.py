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
"""Detection by how unsure the target is."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from monai_shield.networks.heads import Head, binary_logits, head_of

from .base import Detector
from .precision import at_least_float32, full_precision
from .views import Views

__all__ = ["MeanEntropy", "entropy"]


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
        body_only: average over the body instead of all pixels, so that a small head is not diluted.
    """

    info = {"title": "entropy of the prediction", "source": "arXiv 1803.08533"}  # noqa: RUF012

    def __init__(self, body_only: bool = True) -> None:
        super().__init__()
        self.body_only = body_only

    def forward(self, views: Views) -> torch.Tensor:
        unsure = entropy(views.prediction, views.head)
        return views.mean_over_body(unsure) if self.body_only else unsure.flatten(1).mean(dim=1)
