# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A small generator of images and the critic it is trained against, put together from MONAI's."""

from collections.abc import Sequence

from monai.networks.nets import Generator, Regressor
from torch import nn


def dcgan_generator(latent: int, channels: Sequence[int] = (128, 64, 32, 16), out_channels: int = 1) -> nn.Module:
    """
    From latent vectors (B, latent) to images in (0, 1), (B, out_channels, 64, 64) where there are four `channels`: 4 x
    4 pixels, doubled with each of them.

    Radford et al. (2015), "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
    Networks", https://arxiv.org/abs/1511.06434

    Args:
        latent: length of a latent vector.
        channels: of the feature maps, the coarsest first.
        out_channels: of the images.
    """
    first, *rest = channels
    generator = Generator(
        (latent,),
        (first, 4, 4),
        (*rest, out_channels),
        (2,) * len(channels),
        3,
        num_res_units=0,
        act="RELU",
        norm="BATCH",
    )
    return nn.Sequential(generator, nn.Sigmoid())


def dcgan_critic(channels: Sequence[int] = (16, 32, 64, 128), in_channels: int = 1, size: int = 64) -> nn.Module:
    """
    From images (B, in_channels, size, size) to one value each, (B, 1); without batch normalization, which a gradient
    penalty does not allow.

    Args:
        channels: of the feature maps, the finest first; each halves the size.
        in_channels: of the images.
        size: of the images.
    """
    act = ("LEAKYRELU", {"negative_slope": 0.2})
    strides = (2,) * len(channels)
    return Regressor((in_channels, size, size), (1,), tuple(channels), strides, 3, num_res_units=0, act=act, norm=None)
