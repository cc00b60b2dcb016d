# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""
The autoencoders of MagNet.

Meng & Chen (2017), "MagNet: a Two-Pronged Defense against Adversarial Examples", https://arxiv.org/abs/1705.09064
"""

from collections.abc import Callable, Iterable
from typing import ClassVar

import torch
import torch.nn as nn
from monai.networks.blocks import Convolution, UpSample
from monai.networks.layers import Pool

from monai_shield.networks.size import check_size


class MagNetAutoencoderI(nn.Module):
    """
    MagNet's autoencoder I: convolution, average-pooling, two convolutions, upsampling, two convolutions.

    All convolutions are 3x3 and end in a sigmoid, so that images in [0, 1] are what it can reconstruct.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of channels of the image.
        out_channels: number of channels of the reconstruction. Defaults to ``in_channels``.
        features: channels of the hidden feature maps.
        act: activation type and arguments of the hidden convolutions.
        last_act: activation type and arguments of the last convolution, None for an unbounded reconstruction.

    Attributes:
        multiple: what each spatial size must be a multiple of.
    """

    multiple: ClassVar[int] = 2
    __constants__: ClassVar[list[str]] = ["multiple"]  # for TorchScript

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int | None = None,
        features: int = 3,
        act: str | tuple | None = "SIGMOID",
        last_act: str | tuple | None = "SIGMOID",
    ) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims

        def hidden(inputs: int = features) -> Convolution:
            return Convolution(spatial_dims, inputs, features, act=act, norm=None)

        self.layers = nn.Sequential(
            hidden(in_channels),
            *self._between(hidden),
            Convolution(spatial_dims, features, out_channels or in_channels, act=last_act, norm=None),
        )

    def _between(self, hidden: Callable[[], nn.Module]) -> Iterable[nn.Module]:
        """The layers between the first and the last convolution."""
        yield Pool[Pool.AVG, self.spatial_dims](kernel_size=2)
        yield hidden()
        yield hidden()
        yield UpSample(
            self.spatial_dims, scale_factor=2, mode="nontrainable", interp_mode="nearest", align_corners=None
        )
        yield hidden()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """
        Args:
            x: image of shape BCHW[D], each spatial size a multiple of ``multiple``.

        Returns:
            Reconstruction, of the image's shape but with ``out_channels`` channels.

        Raises:
            ValueError: when the shape does not fit the network.
        """
        check_size(x, self.spatial_dims, self.multiple)
        return self.layers(x)


class MagNetAutoencoderII(MagNetAutoencoderI):
    """
    MagNet's autoencoder II: three 3x3 convolutions at full resolution, each with a sigmoid.

    Its settings are those of :class:`MagNetAutoencoderI`.
    """

    multiple = 1

    def _between(self, hidden: Callable[[], nn.Module]) -> Iterable[nn.Module]:
        yield hidden()
