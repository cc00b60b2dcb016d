# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Detectors that cost nothing: no training, no weights. A learned one that does not beat them is not worth its own."""

import math

import torch

from monai_shield.detectors.base import Detector
from monai_shield.detectors.precision import at_least_float32
from monai_shield.detectors.views import Views
from monai_shield.info import Info
from monai_shield.transforms.spectrum import frequency_radius


class HighFrequencyEnergy(Detector):
    r"""
    Share of the spectral energy beyond a radius, :math:`\sum_{|f| > r} |F|^2 / \sum_{f \ne 0} |F|^2`.

    Args:
        radius: r in cycles per pixel; 0.5 is the highest frequency along an axis.
    """

    info = Info("energy above a radius", "a baseline that needs no training")

    def __init__(self, radius: float = 0.37) -> None:
        super().__init__()
        if not 0 < radius < 0.5:
            raise ValueError(f"radius must be in (0, 0.5) cycles per pixel, got {radius}.")
        self.radius = radius

    def forward(self, views: Views) -> torch.Tensor:
        energy = views.magnitude(shift=False).square().sum(dim=1)
        radius = frequency_radius(energy.shape[1:], energy.dtype, energy.device)
        high = (energy * (radius > self.radius)).flatten(1).sum(dim=1)
        total = (energy * (radius > 0)).flatten(1).sum(dim=1)
        return high / total.clamp_min(torch.finfo(total.dtype).tiny)


class LaplacianNoise(Detector):
    r"""
    Deviation of the noise in an image, as Immerkaer (1996) estimates it from the difference N of two Laplacians, which
    takes away every linear change of intensity:

    .. math:: \hat\sigma = \sqrt{\frac\pi2} \frac1{6 (W-2) (H-2)} \sum_{x, y} |I * N|, \quad
              N = \begin{pmatrix} 1 & -2 & 1 \\ -2 & 4 & -2 \\ 1 & -2 & 1 \end{pmatrix}

    averaged over channels; of 2D images of at least 3 x 3 pixels. It is right on average for Gaussian noise on an image
    that is linear. An empty background lowers it and fine structure raises it: it is to be judged against images that
    show as much.
    """

    info = Info("noise by Laplacians", "Immerkaer, Fast Noise Variance Estimation", 1996, doi="10.1006/cviu.1996.0060")
    spatial_dims = (2,)

    def forward(self, views: Views) -> torch.Tensor:
        image = views.image
        if image.ndim != 4 or min(image.shape[2:]) < 3:
            raise ValueError(f"expected 2D images of at least 3 x 3 pixels, got shape {tuple(image.shape)}.")
        image = at_least_float32(image)
        # N is the outer product of the second difference (1, -2, 1) with itself
        response = image.diff(n=2, dim=2).diff(n=2, dim=3)
        return math.sqrt(math.pi / 2) / 6 * response.abs().flatten(1).mean(dim=1)


class ZeroShare(Detector):
    """
    One minus the share of exact zeros: a disturbed background gives an attack away, until its author restores it.

    It is here because any detector on skull-stripped images may be no more than this in disguise.
    """

    info = Info("share of exact zeros", "a baseline that needs no training")

    def forward(self, views: Views) -> torch.Tensor:
        return at_least_float32((views.image != 0).flatten(1).to(views.image.dtype)).mean(dim=1)
