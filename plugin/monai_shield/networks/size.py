# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Which image sizes a network takes."""

import torch


def check_size(image: torch.Tensor, spatial_dims: int, multiple: int) -> None:
    """
    Refuse an image that a network which halves it several times could not bring back to its size.

    Args:
        image: image of shape BCHW[D].
        spatial_dims: number of spatial dimensions that the network works on.
        multiple: what each spatial size must be a multiple of.

    Raises:
        ValueError: when the image has other than ``spatial_dims`` spatial dimensions.
        ValueError: when a spatial size is zero or no multiple of ``multiple``.
    """
    if image.ndim != spatial_dims + 2:
        raise ValueError(f"expected batch, channel and {spatial_dims} spatial dimensions, got {list(image.shape)}.")
    for size in image.shape[2:]:
        if size == 0 or size % multiple != 0:
            raise ValueError(f"spatial size {list(image.shape[2:])} must be a positive multiple of {multiple}.")
