# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The views of many images, which detectors are fitted and calibrated on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from monai_shield.detectors.views import Network, Views
from monai_shield.networks.heads import Head
from monai_shield.transforms.foreground import DEFAULT_FOREGROUND, Foreground


class ViewBatches:
    """
    The views of many images, batch after batch, made anew each time they are gone through: none is kept.

    Args:
        images: (N, C, H, W[, D]), or a data set of images, (C, H, W[, D]), or of dictionaries with an "image".
        target: the network that is defended, in evaluation mode; None for detectors that do not ask for it.
        reformer: likewise.
        foreground: which pixels are foreground.
        head: what the target's channels stand for; None to read it.
        batch_size: images at once.
        device: where to compute.
        progress: what the progress bar says; none where it is empty.
    """

    def __init__(
        self,
        images: torch.Tensor | Sequence[torch.Tensor] | Dataset,
        target: Network | None = None,
        reformer: Network | None = None,
        foreground: Foreground = DEFAULT_FOREGROUND,
        head: Head | None = None,
        batch_size: int = 8,
        device: torch.device | str = "cpu",
        progress: str = "",
    ) -> None:
        self.images: Any = images
        self.target = target
        self.reformer = reformer
        self.foreground = foreground
        self.head = head
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.progress = progress

    def __iter__(self) -> Iterator[Views]:
        starts = range(0, len(self.images), self.batch_size)
        for start in tqdm(starts, desc=self.progress, unit="batch", disable=not self.progress):
            numbers = range(start, min(start + self.batch_size, len(self.images)))
            batch = torch.stack([self._image(number) for number in numbers])
            yield Views(batch.to(self.device), self.target, self.reformer, self.foreground, self.head)

    def _image(self, number: int) -> torch.Tensor:
        item = self.images[number]
        image: torch.Tensor = item["image"] if isinstance(item, Mapping) else item
        return image.as_subclass(torch.Tensor)  # type: ignore[arg-type]
