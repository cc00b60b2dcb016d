# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The same pixels in other places: to find out what a convolution makes of their order."""

from collections.abc import Sequence

import torch
from torch import nn


class RolledNetwork(nn.Module):
    """
    A network that sees its input rolled around, and whose output is rolled back.

    Before a :class:`~monai_shield.detectors.ReconstructionDetector` in the domain "frequency", half of each size makes
    it that of the domain "shifted_frequency"; other shifts put the zero frequency elsewhere.

    Args:
        network: from and to (B, C, H, W[, D]).
        shifts: pixels along each spatial axis, or a share of its length where they are less than 1.
    """

    def __init__(self, network: nn.Module, shifts: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.shifts = tuple(shifts)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """
        Args:
            image: (B, C, H, W[, D]).

        Raises:
            ValueError: where it has another number of spatial axes than there are shifts.
        """
        if image.ndim - 2 != len(self.shifts):
            raise ValueError(f"shifts {self.shifts} for an image of shape {tuple(image.shape)}.")
        axes = tuple(range(2, image.ndim))
        pixels = tuple(int(s * n if abs(s) < 1 else s) for s, n in zip(self.shifts, image.shape[2:]))
        output = self.network(torch.roll(image, pixels, axes))
        return torch.roll(output, tuple(-shift for shift in pixels), axes)

    def extra_repr(self) -> str:
        return f"shifts={self.shifts}"


class ShuffledNetwork(nn.Module):
    """
    A network that sees its input's pixels in a random order, always the same, and whose output is put in order again.

    Nothing is left of what lies side by side; what the pixels are is all there.

    Args:
        network: from and to (B, C, H, W[, D]).
        seed: of the order.
    """

    def __init__(self, network: nn.Module, seed: int = 0) -> None:
        super().__init__()
        self.network = network
        self.seed = seed

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """
        Args:
            image: (B, C, H, W[, D]).
        """
        pixels = image.flatten(2)
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(pixels.shape[2], generator=generator).to(image.device)
        output = self.network(pixels[:, :, order].reshape(image.shape)).flatten(2)
        restored = torch.empty_like(output)
        restored[:, :, order] = output
        return restored.reshape(output.shape[:2] + image.shape[2:])

    def extra_repr(self) -> str:
        return f"seed={self.seed}"


def circular_padding(network: nn.Module) -> nn.Module:
    """
    Let every convolution of a network see its input as periodic, in place; returns the network.

    A spectrum is: what lies beyond its border is what lies at the other end. With all strides even dividers of the
    shift, such a network gives for a shifted spectrum the shifted output.

    Args:
        network: convolutions with zero padding.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            module.padding_mode = "circular"
    return network
