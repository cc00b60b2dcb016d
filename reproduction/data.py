# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The slices that a study trains on, calibrates on and attacks."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from typing import Any

import torch
from monai.data import DataLoader
from monai.networks.utils import eval_mode
from monai.transforms import Compose
from torch import nn

from monai_shield.data import SliceDataset
from monai_shield.evaluation.volume import AttackedVolume, Slicing, file_sums, preprocessed_sums, subject_of
from monai_shield.fingerprints import fingerprint_of
from monai_shield.metrics import dice_of_counts, overlap_counts
from monai_shield.networks.heads import class_logits
from monai_shield.transforms import Foreground

#: Coronal slices; whatever is not 0 is foreground.
SLICING = Slicing(foreground=Foreground(above=0.0))


class StudyData:
    """
    The scans of a study by split, and how they become slices.

    Args:
        train: datalist of the scans that everything is trained on: "image", "label", "id", "subject".
        val: of those that thresholds are chosen on.
        test: of those that are attacked.
        preprocessing: from file to network, of "image" and "label".
        structures: names of the classes, background left out; a label map has them as its keys.
        slices_per_volume: number of slices of a test scan, evenly spaced. Those of a number are among those of three
            times that number.
        slicing: how scans become slices; its foreground is also that of the attacks.

    Raises:
        ValueError: when a split holds no scan, a subject is in two of them, or two test scans have one id.
    """

    def __init__(
        self,
        train: Sequence[Mapping[str, Any]],
        val: Sequence[Mapping[str, Any]],
        test: Sequence[Mapping[str, Any]],
        preprocessing: Compose,
        structures: Iterable[str],
        slices_per_volume: int,
        slicing: Slicing = SLICING,
    ) -> None:
        if slices_per_volume < 1:
            raise ValueError(f"slices_per_volume must be at least 1, got {slices_per_volume}.")
        self.splits = {"train": list(train), "val": list(val), "test": list(test)}
        if len({str(item["id"]) for item in test}) < len(test):
            raise ValueError("two test scans have one id.")
        seen: dict[str, str] = {}
        for split, items in self.splits.items():
            if not items:
                raise ValueError(f"split '{split}' holds no scan.")
            for item in items:
                if seen.setdefault(subject_of(item), split) != split:
                    raise ValueError(f"subject '{subject_of(item)}' is in '{seen[subject_of(item)]}' and in '{split}'.")
        self.preprocessing = preprocessing
        self.structures = list(structures)
        self.slices_per_volume = slices_per_volume
        self.slicing = slicing

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

    def val_dice(self, network: nn.Module, device: torch.device, batch_size: int = 8) -> float:
        """Mean Dice of a network over the structures, on the validation slices stacked."""
        counts = []
        with eval_mode(network):
            for batch in DataLoader(self.val, batch_size=batch_size):
                prediction = class_logits(network(batch["image"].to(device))).argmax(1, keepdim=True).cpu()
                counts.append(overlap_counts(prediction, batch["label"], self.num_classes).sum(0))
        return float(dice_of_counts(torch.stack(counts).sum(0)).nanmean())

    @cached_property
    def volumes(self) -> dict[str, AttackedVolume]:
        """The test scans by "id"."""
        return {
            str(item["id"]): AttackedVolume(item, self.preprocessing, self.slicing, self.slices_per_volume)
            for item in self.splits["test"]
        }

    @property
    def subjects(self) -> list[str]:
        """Whose each test scan is."""
        return [subject_of(item) for item in self.splits["test"]]

    @cache  # noqa: B019 - data live as long as their study
    def fingerprint(self, split: str) -> str:
        """Of the files of a split, and of what becomes of them."""
        return fingerprint_of([[file_sums(item) for item in self.splits[split]], self._preprocessed(split)])

    @cache  # noqa: B019
    def scan_fingerprint(self, volume: str) -> str:
        """Of one test scan."""
        return fingerprint_of([file_sums(self.volumes[volume].item), self._preprocessed("test")])

    @cache  # noqa: B019
    def _preprocessed(self, split: str) -> tuple[object, ...]:
        made = preprocessed_sums(self.splits[split][0], self.preprocessing)
        return (made, self.structures, self.slicing)

    def _slices(self, split: str) -> SliceDataset:
        return SliceDataset(
            self.splits[split],
            self.preprocessing,
            axis=self.slicing.axis,
            min_foreground=self.slicing.min_foreground,
            foreground=self.slicing.foreground,
        )
