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
"""Detectors that cost nothing: no training, no weights. A learned one that does not beat them is not worth its own."""

from __future__ import annotations

import torch

from .base import Detector
from .views import Views

__all__ = ["HighFrequencyEnergy", "ZeroShare"]


class HighFrequencyEnergy(Detector):
    r"""
    Share of the spectral energy beyond a radius, :math:`\sum_{|f| > r} |F|^2 / \sum_{f \ne 0} |F|^2`.

    Args:
        radius: r in cycles per pixel; 0.5 is the highest frequency along an axis.
    """

    info = {"title": "energy above a radius", "source": "none needed"}  # noqa: RUF012

    def __init__(self, radius: float = 0.37) -> None:
        super().__init__()
        if not 0 < radius < 0.5:
            raise ValueError(f"radius must be in (0, 0.5) cycles per pixel, got {radius}.")
        self.radius = radius

    def forward(self, views: Views) -> torch.Tensor:
        energy = views.magnitude(shift=False).square().sum(dim=1)
        axes = [torch.fft.fftfreq(size, device=energy.device, dtype=energy.dtype) for size in energy.shape[1:]]
        distance = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(dim=0).sqrt()
        high = (energy * (distance > self.radius)).flatten(1).sum(dim=1)
        total = (energy * (distance > 0)).flatten(1).sum(dim=1)
        return high / total.clamp_min(torch.finfo(total.dtype).tiny)


class ZeroShare(Detector):
    """
    One minus the share of exact zeros: a disturbed background gives an attack away, until its author restores it.

    It is here because any detector on skull-stripped images may be no more than this in disguise.
    """

    info = {"title": "share of exact zeros", "source": "none needed"}  # noqa: RUF012

    def forward(self, views: Views) -> torch.Tensor:
        return (views.image != 0).flatten(1).to(torch.float32).mean(dim=1)
