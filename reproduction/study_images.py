# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The images of a study that are measured together, their labels and the scans they are of."""

import torch

from monai_shield.evaluation.cells import Key
from monai_shield.evaluation.volume import AttackedVolume
from monai_shield.fingerprints import fingerprint_of
from reproduction.image_set import ImageSet
from reproduction.networks import StudyNetworks


class StudyImages:
    """
    Sets of clean slices, and of slices that were attacked.

    Args:
        networks: of the study; the attacked slices depend on its targets.
    """

    def __init__(self, networks: StudyNetworks) -> None:
        self.networks = networks
        self.data, self.attacks, self.cells = networks.data, networks.grid.attacks, networks.cells

    def images(self, which: ImageSet) -> torch.Tensor:
        """
        The images of a set, scan after scan, (B, 1, ., .).

        Raises:
            ValueError: when they are not attacked yet.
        """
        if which.kind == "val":
            return self.data.val_images
        parts = []
        for volume, scan in self.data.volumes.items():
            if which.kind in self.attacks:
                cell = self.cells.load(*self.adversarial_key(which.target or "", which.kind, volume))
                if cell is None:
                    raise ValueError(f"'{which.name}' of scan '{volume}' is not made yet.")
                parts.append(cell["exported" if which.variant == "exported" else "image"])
            else:
                parts.append(scan.slices[self.places(which, scan)])
        return torch.cat(parts).contiguous()

    def labels(self, which: ImageSet) -> torch.Tensor:
        """The labels of a set of test images, (B, 1, ., .)."""
        return torch.cat([scan.labels[self.places(which, scan)] for scan in self.data.volumes.values()])

    def owners(self, which: ImageSet) -> list[str]:
        """The scan of each image of a set of test images."""
        return [volume for volume, scan in self.data.volumes.items() for _ in self.places(which, scan)]

    def clean_rows(self, attack: str) -> list[int]:
        """Which of the clean test slices an attack is made from."""
        part, start = self.attacks[attack], 0
        rows: list[int] = []
        for scan in self.data.volumes.values():
            rows += (start + part.chosen(len(scan.chosen))).tolist()
            start += len(scan.chosen)
        return rows

    def places(self, which: ImageSet, scan: AttackedVolume) -> torch.Tensor:
        """Which slices of a scan are in a set of test images."""
        if which.kind == "whole":
            return torch.arange(len(scan.slices))
        if which.kind == "clean":
            return scan.chosen
        return scan.chosen[self.attacks[which.kind].chosen(len(scan.chosen))]

    def attack_fingerprint(self, target: str, attack: str, volume: str) -> str:
        """Sum of what the adversarial images of a scan depend on."""
        target_fingerprint = self.networks.target_fingerprint(target)
        return fingerprint_of([self.attacks[attack].attack, target_fingerprint, self.data.scan_fingerprint(volume)])

    def adversarial_key(self, target: str, attack: str, volume: str) -> Key:
        """The cell of a scan's adversarial images, raw and exported, and of what it took to make them."""
        chosen = (self.data.slices_per_volume, self.attacks[attack].every)
        fingerprint = fingerprint_of([self.attack_fingerprint(target, attack, volume), chosen])
        return f"adversarial/{target}/{attack}", volume, fingerprint

    def fingerprint(self, which: ImageSet) -> str:
        """Sum of what a set's images and predictions depend on."""
        parts: list[object] = [which.variant, self.data.fingerprint("val" if which.kind == "val" else "test")]
        if which.kind not in ("val", "whole"):
            parts.append(self.data.slices_per_volume)
        if which.target is not None:
            parts.append(self.networks.target_fingerprint(which.target))
            if which.kind in self.attacks:
                parts += [self.attacks[which.kind].attack, self.attacks[which.kind].every]
        return fingerprint_of(parts)
