# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""How a reformer is trained: on clean images, to give back what it was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


class ReformerBatch:
    """
    A ``prepare_batch`` for MONAI's trainer: the label of an image is the image.

    Args:
        key: key of the image in a batch.
        noise_std: deviation of Gaussian noise added to the input alone; 0 leaves all the work to the bottleneck.
        seed: of the noise.
    """

    def __init__(self, key: str = "image", noise_std: float = 0.0, seed: int = 0) -> None:
        if noise_std < 0:
            raise ValueError(f"noise_std must not be negative, got {noise_std}.")
        self.key = key
        self.noise_std = noise_std
        self.generator = torch.Generator()
        self.set_random_state(seed)

    def set_random_state(self, seed: int) -> ReformerBatch:
        """Draw the noise of another seed from now on."""
        self.generator.manual_seed(seed)
        return self

    def __call__(
        self, batchdata: Mapping[str, Any], device: Any = None, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        image = batchdata[self.key].to(device=device, non_blocking=non_blocking, **kwargs)
        if self.noise_std == 0:
            return image, image
        noise = torch.randn(image.shape, generator=self.generator, dtype=image.dtype).to(image.device)
        return image + self.noise_std * noise, image
