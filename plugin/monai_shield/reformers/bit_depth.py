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
"""A reformer that rounds."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["BitDepth"]


class BitDepth(nn.Module):
    """
    Round intensities to the ``2 ** bits`` evenly spaced levels of the intensity window from 0 to 1 (feature squeezing,
    Xu et al. 2018, arXiv 1704.01155)::

        x -> round(x · (2 ** bits − 1)) / (2 ** bits − 1)

    What is outside the window is not clipped but rounded with the same step. Zero stays zero, and of a background that
    was disturbed by less than half a step nothing is left.

    Its gradient is zero, which stops no attacker: an adaptive attack goes around it with
    :class:`~monai_shield.attacks.BPDA`, and has to, or its numbers mean nothing.

    Args:
        bits: from 1, black and white, to 16, the finest that files store.

    Raises:
        ValueError: for other numbers of bits.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        if bits not in range(1, 17):
            raise ValueError(f"bits must be a whole number from 1 to 16, got {bits}.")
        self.bits = bits

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """
        Args:
            image: (B, C, H, W[, D]), in units of the intensity window.
        """
        steps = 2**self.bits - 1
        return torch.round(image * steps) / steps

    def extra_repr(self) -> str:
        return f"bits={self.bits}"
