# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A filter that leaves the low frequencies of a spectrum."""

import torch
from torch import nn


class LowPass(nn.Module):
    """
    Set a centered spectrum to zero where its frequency is above a radius.

    Args:
        radius: the highest frequency that stays, in cycles per pixel; 0.5 is the highest along an axis.

    Raises:
        ValueError: where the radius is not in (0, 0.5).
    """

    def __init__(self, radius: float) -> None:
        super().__init__()
        if not 0 < radius < 0.5:
            raise ValueError(f"radius must be in (0, 0.5) cycles per pixel, got {radius}.")
        self.radius = radius

    def forward(self, spectrum: torch.Tensor) -> torch.Tensor:
        """
        Args:
            spectrum: real, or a standardized magnitude, (B, C, H, W[, D]), the zero frequency at index n // 2 of each
                axis.
        """
        axes = [(torch.arange(size, device=spectrum.device) - size // 2) / size for size in spectrum.shape[2:]]
        squared = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(dim=0)
        return spectrum * (squared <= self.radius**2)

    def extra_repr(self) -> str:
        return f"radius={self.radius}"
