# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Fully convolutional DenseNets."""

from collections.abc import Sequence

import torch
import torch.nn as nn
from monai.networks.blocks import ADN, Convolution, DenseBlock
from monai.networks.layers import Pool

from monai_shield.networks.size import check_size


class FCDenseNet(nn.Module):
    """
    Fully convolutional DenseNet ("Tiramisu"): a U of dense blocks with concatenated skip connections.

    A layer is normalization, activation, 3x3 convolution and dropout; a transition down is the same with a 1x1
    convolution, then max-pooling. A transition up is a 3x3 transposed convolution of stride 2 over only those feature
    maps that the last dense block made, not over what it was given, so that the width does not explode.

    Jégou et al. (2016), "The One Hundred Layers Tiramisu: Fully Convolutional DenseNets for Semantic Segmentation",
    https://arxiv.org/abs/1611.09326. FC-DenseNet56 is ``[4] * 5, 4, [4] * 5, growth_rate=12`` and FC-DenseNet67 is
    ``[5] * 5, 5, [5] * 5, growth_rate=16``, both with the first convolution and the dropout of the defaults.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of channels of the image.
        out_channels: number of channels of the logits.
        down_layers: layers of each dense block on the way down; there are as many poolings as blocks.
        bottleneck_layers: layers of the dense block at the bottom.
        up_layers: layers of each dense block on the way up.
        growth_rate: feature maps that a layer adds.
        init_features: feature maps of the first convolution.
        dropout: probability that an element is dropped after a convolution.
        norm: normalization type and arguments.

    Raises:
        ValueError: when ``down_layers`` and ``up_layers`` are empty or differ in length, or a block has no layer.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        down_layers: Sequence[int],
        bottleneck_layers: int,
        up_layers: Sequence[int],
        growth_rate: int = 16,
        init_features: int = 48,
        dropout: float = 0.2,
        norm: str | tuple = "BATCH",
    ) -> None:
        super().__init__()
        if not down_layers or len(down_layers) != len(up_layers):
            raise ValueError(f"need as many blocks up as down and at least one, got {down_layers} and {up_layers}.")
        if min(*down_layers, bottleneck_layers, *up_layers) < 1:
            raise ValueError(f"every block needs a layer, got {down_layers}, {bottleneck_layers} and {up_layers}.")

        def layer(inputs: int, outputs: int, kernel_size: int = 3) -> nn.Sequential:
            return nn.Sequential(
                ADN("NA", inputs, act="RELU", norm=norm, norm_dim=spatial_dims),
                Convolution(
                    spatial_dims, inputs, outputs, kernel_size=kernel_size, act=None, norm=None, dropout=dropout
                ),
            )

        def dense_block(inputs: int, n_layers: int) -> DenseBlock:
            return DenseBlock([layer(inputs + n * growth_rate, growth_rate) for n in range(n_layers)])

        self.spatial_dims = spatial_dims
        self.multiple = 2 ** len(down_layers)
        self.first = Convolution(spatial_dims, in_channels, init_features, conv_only=True)

        width, skip_widths = init_features, []
        self.down_blocks, self.downs = nn.ModuleList(), nn.ModuleList()
        for n_layers in down_layers:
            self.down_blocks.append(dense_block(width, n_layers))
            width += n_layers * growth_rate
            skip_widths.append(width)
            pool = Pool[Pool.MAX, spatial_dims](kernel_size=2)
            self.downs.append(nn.Sequential(layer(width, width, kernel_size=1), pool))

        self.bottleneck = dense_block(width, bottleneck_layers)

        new = bottleneck_layers * growth_rate
        self.ups, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        for n_layers in up_layers:
            self.ups.append(Convolution(spatial_dims, new, new, strides=2, conv_only=True, is_transposed=True))
            width = new + skip_widths.pop()
            self.up_blocks.append(dense_block(width, n_layers))
            new = n_layers * growth_rate

        self.last = Convolution(spatial_dims, width + new, out_channels, kernel_size=1, conv_only=True)

        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_uniform_(parameter, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """
        Args:
            x: image of shape BCHW[D], each spatial size a multiple of ``2 ** len(down_layers)``.

        Returns:
            Logits, of the image's shape but with ``out_channels`` channels.

        Raises:
            ValueError: when the shape does not fit the network.
        """
        check_size(x, self.spatial_dims, self.multiple)
        x = self.first(x)
        skips: list[torch.Tensor] = []
        for block, down in zip(self.down_blocks, self.downs):
            x = block(x)
            skips.append(x)
            x = down(x)
        given = x.shape[1]
        x = self.bottleneck(x)
        for up, block in zip(self.ups, self.up_blocks):
            x = torch.cat([up(x[:, given:]), skips.pop()], dim=1)
            given = x.shape[1]
            x = block(x)
        return self.last(x)


class FCDenseNet103(FCDenseNet):
    """
    The FC-DenseNet of 103 convolutions, 9.3 million parameters; its settings are those of :class:`FCDenseNet`.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        dropout: float = 0.2,
        norm: str | tuple = "BATCH",
    ) -> None:
        super().__init__(
            spatial_dims,
            in_channels,
            out_channels,
            down_layers=(4, 5, 7, 10, 12),
            bottleneck_layers=15,
            up_layers=(12, 10, 7, 5, 4),
            growth_rate=16,
            init_features=48,
            dropout=dropout,
            norm=norm,
        )
