# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0

import torch
import torch.nn as nn
from monai.networks.blocks import Convolution, UpSample
from monai.networks.layers import Pool

from monai_shield.networks.size import check_size


class MagNetAutoencoderI(nn.Module):
    """
    MagNet's autoencoder I: convolution, average-pooling, two convolutions, upsampling, two convolutions.

    All convolutions are 3x3 and end in a sigmoid, so that images in [0, 1] are what it can reconstruct.

    Meng & Chen (2017), "MagNet: a Two-Pronged Defense against Adversarial Examples", https://arxiv.org/abs/1705.09064

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of channels of the image.
        out_channels: number of channels of the reconstruction. Defaults to ``in_channels``.
        features: channels of the hidden feature maps.
        act: activation type and arguments of the hidden convolutions.
        last_act: activation type and arguments of the last convolution, None for an unbounded reconstruction.

    """

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
        self.layers = nn.Sequential(
            Convolution(spatial_dims, in_channels, features, act=act, norm=None),
            Pool[Pool.AVG, spatial_dims](kernel_size=2),
            Convolution(spatial_dims, features, features, act=act, norm=None),
            Convolution(spatial_dims, features, features, act=act, norm=None),
            UpSample(spatial_dims, scale_factor=2, mode="nontrainable", interp_mode="nearest", align_corners=None),
            Convolution(spatial_dims, features, features, act=act, norm=None),
            Convolution(spatial_dims, features, out_channels or in_channels, act=last_act, norm=None),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """
        Args:
            x: image of shape BCHW[D], each spatial size even.

        Returns:
            Reconstruction, of the image's shape but with ``out_channels`` channels.

        Raises:
            ValueError: when the shape does not fit the network.

        """
        check_size(x, self.spatial_dims, 2)
        return self.layers(x)


class MagNetAutoencoderII(nn.Module):
    """
    MagNet's autoencoder II: three 3x3 convolutions at full resolution, each with a sigmoid.

    Meng & Chen (2017), "MagNet: a Two-Pronged Defense against Adversarial Examples", https://arxiv.org/abs/1705.09064

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of channels of the image.
        out_channels: number of channels of the reconstruction. Defaults to ``in_channels``.
        features: channels of the hidden feature maps.
        act: activation type and arguments of the hidden convolutions.
        last_act: activation type and arguments of the last convolution, None for an unbounded reconstruction.

    """

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
        self.layers = nn.Sequential(
            Convolution(spatial_dims, in_channels, features, act=act, norm=None),
            Convolution(spatial_dims, features, features, act=act, norm=None),
            Convolution(spatial_dims, features, out_channels or in_channels, act=last_act, norm=None),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """
        Args:
            x: image of shape BCHW[D].

        Returns:
            Reconstruction, of the image's shape but with ``out_channels`` channels.

        Raises:
            ValueError: when the shape does not fit the network.

        """
        check_size(x, self.spatial_dims, 1)
        return self.layers(x)
