# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A filter first, then a network that gives back what the filter took."""

import torch
from torch import nn


class FilteredNetwork(nn.Module):
    """
    A network that never sees the image itself, only what a filter leaves of it.

    A network that is trained to reconstruct what it sees, and has skip connections, learns to copy: the perturbation
    too. Behind a filter there is less to copy, and what it took from a clean image has to come from what the network
    knows of clean images.

    - Behind a median filter, which leaves little of a fine perturbation, it is a reformer (feature squeezing, Xu et
      al. 2018, arXiv 1704.01155, followed by the reformer of Park et al. 2020, arXiv 2009.11090).
    - Behind a :class:`~monai_shield.networks.LowPass` it says what high frequencies belong to these low ones: the
      network of a :class:`~monai_shield.detectors.ReconstructionDetector`.

    Args:
        filter: a module without weights, such as ``monai.networks.layers.MedianFilter``.
        network: from and to (B, C, H, W[, D]).
        residual: the network gives what is to be added to the filtered image, instead of the whole image. Intensities
            then stay those of the image, whatever the network's normalization makes of them.
    """

    def __init__(self, filter: nn.Module, network: nn.Module, residual: bool = False) -> None:
        super().__init__()
        self.filter = filter
        self.network = network
        self.residual = residual

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """
        Args:
            image: (B, C, H, W[, D]).
        """
        filtered = self.filter(image)
        output = self.network(filtered)
        return filtered + output if self.residual else output
