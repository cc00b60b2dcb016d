# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Detection by how far each frequency is from its usual magnitude, without a network."""

import math
from collections.abc import Sequence

import torch
from typing_extensions import Self

from monai_shield.detectors.reconstruction import ReconstructionDetector
from monai_shield.info import Info


class SpectrumNorm(ReconstructionDetector):
    r"""
    2-norm of the magnitude of the spectrum, each frequency standardized over clean training images,

    .. math:: s = \Big( \sum_f \Big( \frac{|F(f)| - \mu_f}{\sigma_f} \Big)^2 \Big)^{1/2}

    This is the error of a :class:`ReconstructionDetector` that reconstructs nothing: what its network adds to the
    standardization shows in a score that is better than this one. The shift makes no difference.

    Args:
        spatial_size: size of the images, which fixes the frequency grid.
        channels: number of image channels.
    """

    info = Info("norm of the standardized spectrum", "Park et al., without the network", 2020, "2009.11090")

    def __init__(self, spatial_size: Sequence[int], channels: int = 1) -> None:
        nothing = torch.nn.Threshold(math.inf, 0.0)  # 0 whatever it is given
        super().__init__(nothing, "frequency", spatial_size, channels)

    @classmethod
    def example(cls, spatial_size: Sequence[int]) -> Self:
        return cls(spatial_size)
