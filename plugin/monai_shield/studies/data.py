# Copyright (c) The monai-shield authors.
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The slices that a study trains on, calibrates on and attacks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from monai.transforms import Compose

from monai_shield.data import SliceDataset
from monai_shield.utils import sha256

from .cells import fingerprint_of
from .volume import AttackedVolume

__all__ = ["StudyData"]


class StudyData:
    """
    The scans of a study by split, and how they become slices.

    Args:
        train: datalist of the scans that everything is trained on: "image", "label", "id", "person".
        val: of those that thresholds are chosen on.
        test: of those that are attacked.
        preprocessing: from file to network, of "image" and "label".
        structures: names of the classes, background left out.
        slices_per_volume: number of slices of a test scan, evenly spaced. Those of a number are among those of three
            times that number.
        axis: spatial axis to slice along (1: coronal in LAS).
        min_body: a slice with no larger share of body is left out.

    Raises:
        ValueError: when a split holds no scan, or a person is in two of them.
    """

    def __init__(
        self,
        train: Sequence[Mapping[str, Any]],
        val: Sequence[Mapping[str, Any]],
        test: Sequence[Mapping[str, Any]],
        preprocessing: Compose,
        structures: Sequence[str],
        slices_per_volume: int,
        axis: int = 1,
        min_body: float = 0.02,
    ) -> None:
        if slices_per_volume < 1:
            raise ValueError(f"slices_per_volume must be at least 1, got {slices_per_volume}.")
        self.splits = {"train": list(train), "val": list(val), "test": list(test)}
        seen: dict[str, str] = {}
        for split, items in self.splits.items():
            if not items:
                raise ValueError(f"split '{split}' holds no scan.")
            for item in items:
                if seen.setdefault(person_of(item), split) != split:
                    raise ValueError(f"person '{person_of(item)}' is in '{seen[person_of(item)]}' and in '{split}'.")
        self.preprocessing = preprocessing
        self.structures = list(structures)
        self.slices_per_volume = slices_per_volume
        self.axis = axis
        self.min_body = min_body

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.structures) + 1

    @cached_property
    def train(self) -> SliceDataset:
        """The training slices with their labels."""
        return self._slices("train")

    @cached_property
    def val(self) -> SliceDataset:
        """The validation slices with their labels."""
        return self._slices("val")

    @cached_property
    def val_images(self) -> torch.Tensor:
        """The validation slices, (B, 1, ., .)."""
        return torch.stack([self.val[i]["image"] for i in range(len(self.val))])

    @cached_property
    def volumes(self) -> dict[str, AttackedVolume]:
        """The test scans by "id"."""
        return {
            str(item["id"]): AttackedVolume(item, self.preprocessing, self.axis, self.min_body, self.slices_per_volume)
            for item in self.splits["test"]
        }

    @property
    def persons(self) -> list[str]:
        """Whose each test scan is."""
        return [person_of(item) for item in self.splits["test"]]

    @cached_property
    def fingerprint(self) -> str:
        """
        Of all files, and of what the preprocessing makes of one: a transform's ``repr`` does not tell its settings.
        """
        files = [sha256(item[key]) for items in self.splits.values() for item in items for key in ("image", "label")]
        one = self.preprocessing(dict(self.splits["val"][0]))
        made = [hashlib.sha256(one[key].numpy().tobytes()).hexdigest() for key in ("image", "label")]
        return fingerprint_of([files, made, self.structures, self.axis, self.min_body])

    def _slices(self, split: str) -> SliceDataset:
        return SliceDataset(self.splits[split], self.preprocessing, axis=self.axis, min_body=self.min_body)


def person_of(item: Mapping[str, Any]) -> str:
    """Whose scan it is; the scan's own name where nothing says so."""
    return str(item.get("person", item["id"]))
