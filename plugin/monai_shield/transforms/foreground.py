# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The foreground of an image: one rule that a bundle declares once and every part of the shield uses."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Foreground:
    """
    Which pixels of the network's input are foreground.

    By a threshold, a pixel is foreground where any of its channels is above it: 0.05 for an image scaled to its
    intensity window, -900 for a CT in Hounsfield units. A threshold just above the background, not at it, keeps faint
    noise out. By a mask, a pixel is foreground where any channel of the mask is not 0.

    Args:
        above: threshold on the network's input; 0.05 where neither is given.
        mask: instead of a threshold, a transform of one image (C, H, W[, D]) to its mask, (C, H, W[, D]) with any
            number of channels or (H, W[, D]), such as ``monai.transforms.ForegroundMask``.

    Raises:
        ValueError: for both a threshold and a mask, or a threshold that is not a number.
    """

    above: float | None = None
    mask: Callable[[torch.Tensor], torch.Tensor] | None = None

    def __post_init__(self) -> None:
        if self.above is not None and self.mask is not None:
            raise ValueError("foreground takes a threshold ('above') or a mask, not both.")
        if self.mask is None:
            above = 0.05 if self.above is None else float(self.above)
            if math.isnan(above):
                raise ValueError("the threshold of the foreground ('above') is not a number.")
            object.__setattr__(self, "above", above)

    @torch.no_grad()
    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """
        The foreground of each image of a batch.

        Args:
            image: (B, C, H, W[, D]), as the network gets it.

        Returns:
            bool, (B, H, W[, D]).

        Raises:
            ValueError: for a mask of another size than the image.
        """
        plain = image.as_subclass(torch.Tensor)  # type: ignore[arg-type]
        if self.above is not None:
            return (plain > self.above).any(dim=1)
        return torch.stack([self._masked(one) for one in plain.detach()])

    def share(self, image: torch.Tensor) -> torch.Tensor:
        """
        The share of the pixels of each image that are foreground.

        Args:
            image: (B, C, H, W[, D]).

        Returns:
            (B,), float64 for an image in float64, else float32.
        """
        dtype = torch.float64 if image.dtype == torch.float64 else torch.float32
        return self(image).flatten(1).to(dtype).mean(dim=1)

    def _masked(self, image: torch.Tensor) -> torch.Tensor:
        assert self.mask is not None
        found = torch.as_tensor(self.mask(image)).as_subclass(torch.Tensor) != 0  # type: ignore[arg-type]
        inside = found.any(dim=0) if found.ndim == image.ndim else found
        if inside.shape != image.shape[1:]:
            raise ValueError(f"the foreground's mask {tuple(found.shape)} does not fit the image {tuple(image.shape)}.")
        return inside.to(image.device)


#: For an image scaled to its intensity window.
DEFAULT_FOREGROUND = Foreground(above=0.05)
