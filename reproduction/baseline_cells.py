# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The answers of baseline defenses, which are slow and therefore measured on fewer slices."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from monai_shield.evaluation.cells import Key
from monai_shield.fingerprints import fingerprint_of
from monai_shield.metrics import overlap_counts
from monai_shield.networks.heads import class_logits
from reproduction.defense_gan import resample
from reproduction.image_set import VARIANTS, ImageSet
from reproduction.jobs import Job
from reproduction.networks import StudyNetworks
from reproduction.study_images import StudyImages


class BaselineCells:
    """
    The nearest images that baseline defenses find, with their error, and the targets' predictions on them.

    Args:
        networks: of the study.
        images: of the study.
    """

    def __init__(self, networks: StudyNetworks, images: StudyImages) -> None:
        self.networks, self.images = networks, images
        self.grid, self.data, self.cells = networks.grid, networks.data, networks.cells
        self.parts = self.grid.baseline_defenses
        self.batch_size = networks.setup.settings.batch_size

    def sets(self) -> Iterator[ImageSet]:
        """The sets that are searched: clean ones once, and every pooled attack on every target."""
        yield ImageSet("val")
        yield ImageSet("clean")
        for target in self.grid.targets:
            for attack in self.grid.pooled:
                for variant in VARIANTS:
                    yield ImageSet(attack, target, variant)

    def rows(self, name: str, which: ImageSet) -> torch.Tensor:
        """Which images of a set a baseline defense is measured on."""
        part = self.parts[name]
        if which.kind == "val":
            return part.chosen(len(self.data.val_images))
        rows, start = [], 0
        for scan in self.data.volumes.values():
            number = len(self.images.places(which, scan))
            rows.append(start + part.chosen(number))
            start += number
        return torch.cat(rows)

    def search_jobs(self) -> Iterator[Job]:
        """The search in every set."""
        for name in self.parts:
            for which in self.sets():
                key = self.search_key(name, which)
                run = partial(self._search, name, which, key)
                yield Job(f"{name}, {which.name}", partial(self.cells.has, *key), run)

    def measure_jobs(self) -> Iterator[Job]:
        """The targets' predictions on the images that were found."""
        for name in self.parts:
            for which in self.sets():
                for target in self.measured_targets(which):
                    key = self.count_key(name, which, target)
                    run = partial(self._measure, name, which, target, key)
                    yield Job(f"{name}, {which.name}, {target}", partial(self.cells.has, *key), run)

    def search_key(self, name: str, which: ImageSet) -> Key:
        """The cell of the images that were found for a set, and of their errors."""
        part = self.parts[name]
        made = [self.networks.generator_key(name), self.images.fingerprint(which), part.search, part.every]
        return f"found/{name}", which.name, fingerprint_of(made)

    def count_key(self, name: str, which: ImageSet, target: str) -> Key:
        """The cell of the overlap counts of a target's prediction on the images that were found."""
        made = [self.search_key(name, which), self.networks.target_fingerprint(target)]
        return f"counts/{name}", f"{which.name}, {target}", fingerprint_of(made)

    def measured_targets(self, which: ImageSet) -> list[str]:
        """The targets that predict on the images that were found for a set."""
        if which.kind == "val":
            return []
        return list(self.grid.targets) if which.target is None else [which.target]

    def _search(self, name: str, which: ImageSet, key: Key) -> None:
        defense, device = self.networks.baseline_defense(name), self.networks.device
        images = self.images.images(which)[self.rows(name, which)]
        found = [defense.reconstruct(batch.to(device)) for batch in images.split(4 * self.batch_size)]
        small, error = (torch.cat([part.cpu() for part in parts]) for parts in zip(*found))
        self.cells.put(*key, {"images": small, "scores": error.double()})

    @torch.no_grad()
    def _measure(self, name: str, which: ImageSet, target: str, key: Key) -> None:
        cell = self.cells.load(*self.search_key(name, which))
        if cell is None:
            raise ValueError(f"'{which.name}' was not searched by '{name}' yet.")
        labels = self.images.labels(which)[self.rows(name, which)]
        network, counts = self.networks.target(target), []
        for small, label in zip(cell["images"].split(self.batch_size), labels.split(self.batch_size)):
            image = resample(small, label.shape[2:]).to(self.networks.device)
            prediction = class_logits(network(image)).argmax(1, keepdim=True).cpu()
            counts.append(overlap_counts(prediction, label, self.data.num_classes))
        kept: dict[str, Any] = {"counts": torch.cat(counts)}
        self.cells.put(*key, kept)
