# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Two-dimensional slices of volumes, the unit that 2D networks train on and that scores are given for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from monai_shield.transforms.foreground import DEFAULT_FOREGROUND, Foreground


def slices_of(volume: torch.Tensor, axis: int) -> torch.Tensor:
    """
    The slices of a volume along a spatial axis, as a batch.

    Args:
        volume: (C, H, W, D).
        axis: spatial axis, 0 to 2.

    Returns:
        (B, C, ., .), a view.
    """
    return volume.movedim(axis + 1, 0)


def evenly_spaced(indices: torch.Tensor, number: int) -> torch.Tensor:
    """
    Some of the indices, evenly spaced, neither the first nor the last of many.

    Args:
        indices: (n,), in order.
        number: how many; all where there are not as many.
    """
    places = (torch.arange(number, dtype=torch.float64) + 0.5) / number * len(indices)
    return indices[places.long()].unique()


class SliceDataset(Dataset):
    """
    The foreground-bearing slices of volumes, held in memory.

    Args:
        data: datalist, one dictionary a volume.
        transform: loads and preprocesses a volume, random-free; afterwards each of `keys` is (C, H, W, D).
        keys: what to slice; the first is the image whose foreground decides.
        axis: spatial axis to slice along (1: coronal in LAS).
        min_foreground: a slice with no larger share of foreground is left out.
        every: keep every n-th slice of those.
        progress: show a progress bar while loading.
        foreground: which pixels are foreground.

    Items are dictionaries with the sliced `keys`, the volume's ``id`` and the ``slice`` index; labels stay uint8.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        keys: Sequence[str] = ("image", "label"),
        axis: int = 1,
        min_foreground: float = 0.02,
        every: int = 1,
        progress: bool = True,
        foreground: Foreground = DEFAULT_FOREGROUND,
    ) -> None:
        self.keys = tuple(keys)
        self.transform = transform
        self.min_foreground = min_foreground
        self.foreground = foreground
        self.volumes: list[dict[str, torch.Tensor]] = []
        self.items: list[tuple[int, int]] = []
        self.axis, self.every = axis, every
        self.metas: list[Mapping[str, Any]] = []  # of the images of the volumes; empty for a plain tensor
        self.ids: list[str] = []
        for number, entry in enumerate(tqdm(data, desc="loading volumes", unit="volume", disable=not progress)):
            loaded = transform(entry)
            self.metas.append(getattr(loaded[self.keys[0]], "meta", {}))
            volume = {key: slices_of(torch.as_tensor(loaded[key]).detach(), axis).contiguous() for key in self.keys}
            volume = {key: value.as_subclass(torch.Tensor) for key, value in volume.items()}
            bearing = torch.nonzero(foreground.share(volume[self.keys[0]]) > min_foreground)[:, 0].tolist()
            self.volumes.append(volume)
            self.ids.append(str(entry.get("id", number)))
            self.items.extend((number, index) for index in bearing[::every])

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, item: int) -> dict[str, Any]:
        number, index = self.items[item]
        found: dict[str, Any] = {key: self.volumes[number][key][index] for key in self.keys}
        return found | {"id": self.ids[number], "slice": index}
