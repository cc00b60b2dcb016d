# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A reformer that takes medians."""

import torch
from monai.networks.layers import median_filter

from monai_shield.info import Info
from monai_shield.reformers.base import Reformer


class Median(Reformer):
    """
    The median of the window around each pixel, by MONAI's ``median_filter``; the border is repeated outward.

    Args:
        radius: of the window, in pixels along each axis; 1 for 3 x 3 or 3 x 3 x 3.

    Raises:
        ValueError: for a radius below 1.
    """

    info = Info("median filter", "Xu et al., Feature Squeezing", 2018, "1704.01155")

    def __init__(self, radius: int = 1) -> None:
        super().__init__()
        if radius < 1:
            raise ValueError(f"radius must be at least 1, got {radius}.")
        self.radius = radius

    def reform(self, image: torch.Tensor) -> torch.Tensor:
        return median_filter(image, 2 * self.radius + 1, image.ndim - 2)
