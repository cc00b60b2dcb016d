# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A reformer that rounds."""

import torch
from torch import nn


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
