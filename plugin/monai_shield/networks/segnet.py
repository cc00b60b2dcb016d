# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""SegNet."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn as nn
from monai.networks.blocks import Convolution
from monai.networks.layers import Pool

from monai_shield.networks.size import check_size


def max_unpool(x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """
    Undo a max-pooling by 2: put each value where its maximum was, zero elsewhere.

    The same as :py:class:`torch.nn.MaxUnpool2d` and ``MaxUnpool3d``, which torch cannot script and which refuse to run
    on CUDA under ``torch.use_deterministic_algorithms``.

    Args:
        x: feature maps of shape BCHW[D].
        indices: flat positions that the max-pooling returned, of the shape of ``x``.

    Returns:
        Feature maps of twice the spatial size.
    """
    size = list(x.shape[:2]) + [2 * s for s in x.shape[2:]]
    return x.new_zeros(size).flatten(2).scatter(2, indices.flatten(2), x.flatten(2)).reshape(size)


class SegNet(nn.Module):
    """
    SegNet: a VGG encoder, and a decoder that is its mirror image and puts each value back where max-pooling took it.

    No feature map crosses from encoder to decoder, only the positions of the maxima do. The defaults are the encoder
    of VGG16 with batch normalization. The last convolution bears no normalization and no activation.

    Badrinarayanan et al. (2015), "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation",
    https://arxiv.org/abs/1511.00561

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of channels of the image.
        out_channels: number of channels of the logits.
        features: channels of each stage; there are as many poolings as stages.
        convs_per_stage: number of 3x3 convolutions of each stage.
        act: activation type and arguments.
        norm: normalization type and arguments.

    Raises:
        ValueError: when ``spatial_dims`` is neither 2 nor 3.
        ValueError: when ``features`` and ``convs_per_stage`` are empty, differ in length or hold less than 1.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        features: Sequence[int] = (64, 128, 256, 512, 512),
        convs_per_stage: Sequence[int] = (2, 2, 3, 3, 3),
        act: str | tuple | None = ("RELU", {"inplace": True}),
        norm: str | tuple | None = "BATCH",
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
        if not features or len(features) != len(convs_per_stage) or min(*features, *convs_per_stage) < 1:
            raise ValueError(f"need one feature and convolution count per stage, got {features} and {convs_per_stage}.")

        def convolutions(*channels: int, bare_end: bool = False) -> nn.Sequential:
            steps = list(pairwise(channels))
            return nn.Sequential(
                *(
                    Convolution(spatial_dims, i, o, act=act, norm=norm, conv_only=bare_end and n == len(steps))
                    for n, (i, o) in enumerate(steps, start=1)
                )
            )

        self.spatial_dims = spatial_dims
        self.multiple = 2 ** len(features)
        self.pool = Pool[Pool.MAX, spatial_dims](kernel_size=2, return_indices=True)
        self.encoder = nn.ModuleList()
        decoder = []
        for stage, (width, n_convs) in enumerate(zip(features, convs_per_stage)):
            above = features[stage - 1]
            self.encoder.append(convolutions(above if stage else in_channels, *[width] * n_convs))
            decoder.append(convolutions(*[width] * n_convs, above if stage else out_channels, bare_end=stage == 0))
        self.decoder = nn.ModuleList(reversed(decoder))

        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """
        Args:
            x: image of shape BCHW[D], each spatial size a multiple of ``2 ** len(features)``.

        Returns:
            Logits, of the image's shape but with ``out_channels`` channels.

        Raises:
            ValueError: when the shape does not fit the network.
        """
        check_size(x, self.spatial_dims, self.multiple)
        indices: list[torch.Tensor] = []
        for stage in self.encoder:
            x, index = self.pool(stage(x))
            indices.append(index)
        for stage in self.decoder:
            x = stage(max_unpool(x, indices.pop()))
        return x
