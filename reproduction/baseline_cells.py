# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a study keeps of defenses that are measured on fewer slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import torch

from monai_shield.evaluation.cells import Key
from monai_shield.fingerprints import fingerprint_of
from monai_shield.metrics import overlap_counts
from monai_shield.networks.heads import class_logits
from reproduction.baseline_defenses import DefenseGANPart
from reproduction.defense_gan import DefenseGAN, resample
from reproduction.image_set import VARIANTS, ImageSet
from reproduction.jobs import Job

if TYPE_CHECKING:
    from reproduction.study import DefenseStudy


class RivalCells:
    """
    The rivals of a study: trained, then asked for their image nearest to each of the slices, then segmented.

    Args:
        study: whose data, targets and attacks they share.
        parts: name to rival.
    """

    def __init__(self, study: DefenseStudy, parts: Mapping[str, DefenseGANPart]) -> None:
        self.study = study
        self.parts = dict(parts)

    def sets(self) -> Iterator[ImageSet]:
        """The sets that are searched: clean ones once, and every pooled attack on every target."""
        yield ImageSet("val")
        yield ImageSet("clean")
        for target in self.study.targets:
            for attack, part in self.study.attacks.items():
                if part.pooled:
                    for variant in VARIANTS:
                        yield ImageSet(attack, target, variant)

    def rows(self, name: str, which: ImageSet) -> torch.Tensor:
        """Which images of a set a rival is asked for."""
        part = self.parts[name]
        if which.kind == "val":
            return part.chosen(len(self.study.data.val_images))
        rows, start = [], 0
        for scan in self.study.data.volumes.values():
            number = len(self.study.places(which, scan))
            rows.append(start + part.chosen(number))
            start += number
        return torch.cat(rows)

    def training_jobs(self) -> Iterator[Job]:
        """Training of every rival."""
        for name in self.parts:
            key = self.generator_key(name)
            yield Job(f"rival {name}", partial(self.study.cells.has, *key), partial(self._train, name, key))

    def search_jobs(self) -> Iterator[Job]:
        """The search in every set."""
        for name in self.parts:
            for which in self.sets():
                key = self.search_key(name, which)
                yield Job(
                    f"{name}, {which.name}", partial(self.study.cells.has, *key), partial(self._search, name, which)
                )

    def measure_jobs(self) -> Iterator[Job]:
        """The targets' answers to what was found."""
        for name in self.parts:
            for which in self.sets():
                for target in self._targets(which):
                    key = self.count_key(name, which, target)
                    yield Job(
                        f"{name}, {which.name}, {target}",
                        partial(self.study.cells.has, *key),
                        partial(self._measure, name, which, target),
                    )

    def generator_key(self, name: str) -> Key:
        """The cell of a rival's weights."""
        part = self.parts[name]
        learned = (part.generator, part.critic, part.latent, part.steps, part.size, part.training)
        return "rivals", name, fingerprint_of([learned, self.study.seed, self.study.data.fingerprint("train")])

    def search_key(self, name: str, which: ImageSet) -> Key:
        """The cell of what was found for a set, and of its error."""
        part = self.parts[name]
        made = [self.generator_key(name), self.study.set_fingerprint(which), part.search, part.every]
        return f"found/{name}", which.name, fingerprint_of(made)

    def count_key(self, name: str, which: ImageSet, target: str) -> Key:
        """The cell of the overlap counts of a target's answer to what was found."""
        made = [self.search_key(name, which), self.study.target_fingerprint(target)]
        return f"counts/{name}", f"{which.name}, {target}", fingerprint_of(made)

    def _targets(self, which: ImageSet) -> list[str]:
        if which.kind == "val":
            return []
        return list(self.study.targets) if which.target is None else [which.target]

    def _train(self, name: str, key: Key) -> None:
        study = self.study
        generator = self.parts[name].train(study.data, study.seed, study.checkpoint(*key), study.device)
        study.keep(key, generator)

    @cache  # noqa: B019 - lives as long as its process
    def defense(self, name: str) -> DefenseGAN:
        """A trained rival."""
        cell = self.study.cells.load(*self.generator_key(name))
        if cell is None:
            raise ValueError(f"rival '{name}' is not trained yet.")
        generator = self.parts[name].generator()
        generator.load_state_dict(cell["state"])
        return self.parts[name].defense(generator).to(self.study.device).eval()

    def _search(self, name: str, which: ImageSet) -> None:
        images = self.study.images(which)[self.rows(name, which)]
        found: list[tuple[torch.Tensor, ...]] = []
        for batch in images.split(4 * self.study.batch_size):
            found.append(tuple(part.cpu() for part in self.defense(name).reconstruct(batch.to(self.study.device))))
        small, error = (torch.cat(parts) for parts in zip(*found))
        self.study.cells.put(*self.search_key(name, which), {"images": small, "scores": error.double()})

    @torch.no_grad()
    def _measure(self, name: str, which: ImageSet, target: str) -> None:
        cell = self.study.cells.load(*self.search_key(name, which))
        if cell is None:
            raise ValueError(f"'{which.name}' was not searched by '{name}' yet.")
        labels = self.study.labels(which)[self.rows(name, which)]
        network, counts = self.study.target(target), []
        for small, label in zip(cell["images"].split(self.study.batch_size), labels.split(self.study.batch_size)):
            image = resample(small, label.shape[2:]).to(self.study.device)
            prediction = class_logits(network(image)).argmax(1, keepdim=True).cpu()
            counts.append(overlap_counts(prediction, label, self.study.data.num_classes))
        kept: dict[str, Any] = {"counts": torch.cat(counts)}
        self.study.cells.put(*self.count_key(name, which, target), kept)
