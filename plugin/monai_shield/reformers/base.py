# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What every reformer is: from an image to one of the same shape that lies nearer to the clean ones."""

from collections.abc import Iterable
from typing import ClassVar

import torch
from monai.utils import convert_to_dst_type
from torch import nn
from typing_extensions import Self

from monai_shield.info import Info


class Reformer(nn.Module):
    """
    Base of the reformers. A subclass gives :meth:`reform`. A shield takes any other module from image to image too.

    Attributes:
        info: where it comes from, for tables and docs.
        differentiable: whether its gradient tells how it changes an image. An attack goes around one whose gradient is
            zero with :class:`~monai_shield.attacks.BPDA`.
    """

    info: ClassVar[Info]
    differentiable: ClassVar[bool] = True

    @classmethod
    def example(cls, spatial_dims: int) -> Self:
        """A small one for images of one channel: tests make it."""
        return cls()

    def fit(self, images: Iterable[torch.Tensor]) -> Self:
        """
        Learn from clean training images what is not learned yet; most have nothing to learn.

        Args:
            images: single images, (C, H, W[, D]).
        """
        return self

    def reform(self, image: torch.Tensor) -> torch.Tensor:
        """From a plain tensor (B, C, H, W[, D]) to another of the same shape; the image itself stays as it is."""
        raise NotImplementedError

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """
        Args:
            image: (B, C, H, W[, D]), in units of the intensity window.

        Returns:
            the reformed image, with the type and the meta data of the image.

        Raises:
            ValueError: where the result has another shape.
        """
        reformed = self.reform(image.as_subclass(torch.Tensor))  # type: ignore[arg-type]
        if reformed.shape != image.shape:
            raise ValueError(f"reforming changed the shape from {tuple(image.shape)} to {tuple(reformed.shape)}.")
        return convert_to_dst_type(reformed, image)[0]
