# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A volume of which some slices are attacked."""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from monai_shield.data import evenly_spaced, slices_of
from monai_shield.transforms import DEFAULT_FOREGROUND, Foreground, PreprocessedFile, export_attack
from monai_shield.utils import sha256


@dataclass(frozen=True)
class Slicing:
    """
    How a volume becomes slices.

    Args:
        axis: spatial axis to slice along (1: coronal in LAS).
        min_foreground: a slice with no larger share of foreground is left out.
        foreground: which pixels are foreground.
    """

    axis: int = 1
    min_foreground: float = 0.02
    foreground: Foreground = DEFAULT_FOREGROUND

    def bears(self, slices: torch.Tensor) -> torch.Tensor:
        """Which slices (B, C, ., .) have enough foreground, (B,)."""
        return self.foreground.share(slices) > self.min_foreground


class AttackedVolume:
    """
    A preprocessed volume and the slices that are attacked. It is loaded when it is first asked for.

    Args:
        item: "image" and "label", two files, and "id".
        preprocessing: from file to network, of both.
        slicing: how it becomes slices.
        number: how many slices are chosen, evenly spaced.
    """

    def __init__(self, item: Mapping[str, Any], preprocessing: Compose, slicing: Slicing, number: int) -> None:
        self.item = item
        self.preprocessing = preprocessing
        self.slicing = slicing
        self.number = number

    @cached_property
    def data(self) -> Mapping[str, MetaTensor]:
        """The preprocessed image and label, (1, H, W, D)."""
        data = self.preprocessing(dict(self.item))
        if not bool((data["label"] > 0).any()):
            raise ValueError(
                f"'{self.item['label']}': no structure of the label map occurs: is it that of this data set?"
            )
        return data

    @cached_property
    def file(self) -> PreprocessedFile:
        """The image's file, with the way back to it."""
        return PreprocessedFile(self.item, self.preprocessing)

    @property
    def image(self) -> MetaTensor:
        """The preprocessed image, (1, H, W, D)."""
        return self.data["image"]

    @cached_property
    def slices(self) -> torch.Tensor:
        """All slices of the image, (B, 1, ., .)."""
        return slices_of(self.image.as_tensor(), self.slicing.axis)

    @cached_property
    def labels(self) -> torch.Tensor:
        """All slices of the label, (B, 1, ., .)."""
        return slices_of(self.data["label"].as_tensor(), self.slicing.axis)

    @cached_property
    def chosen(self) -> torch.Tensor:
        """Indices of evenly spaced slices, neither the first nor the last that bears foreground."""
        bearing = torch.nonzero(self.slicing.bears(self.slices))[:, 0]
        return evenly_spaced(bearing, self.number)

    def exported(self, attacked: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:
        """
        The attacked slices (S, 1, ., .) written to a file of the clean file's type, and read back.

        Args:
            attacked: the slices, attacked.
            places: which ones they are, (S,); by default the chosen ones.
        """
        places = self.chosen if places is None else places
        perturbation = torch.zeros_like(self.image.as_tensor())
        slices_of(perturbation, self.slicing.axis)[places] = attacked - self.slices[places]
        with tempfile.TemporaryDirectory() as folder:
            again = export_attack(perturbation, self.file, Path(folder) / "attacked.nii")
        return slices_of(again.as_tensor(), self.slicing.axis)[places]


def file_sums(item: Mapping[str, Any]) -> list[str]:
    """SHA-256 sums of a scan's two files."""
    return [sha256(item[key]) for key in ("image", "label")]


def preprocessed_sums(item: Mapping[str, Any], preprocessing: Compose) -> list[str]:
    """SHA-256 sums of what the preprocessing makes of a scan: a transform's ``repr`` does not tell its settings."""
    made = preprocessing(dict(item))
    return [hashlib.sha256(made[key].numpy().tobytes()).hexdigest() for key in ("image", "label")]


def subject_of(item: Mapping[str, Any]) -> str:
    """Whose scan it is; the scan's own name where nothing says so."""
    return str(item["subject"] if "subject" in item else item["id"])
