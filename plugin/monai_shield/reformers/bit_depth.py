# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A reformer that rounds."""

import torch

from monai_shield.info import Info
from monai_shield.reformers.base import Reformer


class BitDepth(Reformer):
    """
    Round intensities to the ``2 ** bits`` evenly spaced levels of the intensity window from 0 to 1::

        x -> round(x · (2 ** bits − 1)) / (2 ** bits − 1)

    What is outside the window is not clipped but rounded with the same step. Zero stays zero, and of a background that
    was disturbed by less than half a step nothing is left.

    Args:
        bits: from 1, black and white, to 16, the finest that files store.

    Raises:
        ValueError: for other numbers of bits.
    """

    info = Info("bit depth", "Xu et al., Feature Squeezing", 2018, "1704.01155")
    differentiable = False

    def __init__(self, bits: int = 4) -> None:
        super().__init__()
        if bits not in range(1, 17):
            raise ValueError(f"bits must be a whole number from 1 to 16, got {bits}.")
        self.bits = bits

    def reform(self, image: torch.Tensor) -> torch.Tensor:
        steps = 2**self.bits - 1
        return torch.round(image * steps) / steps
