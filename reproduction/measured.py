# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The scores of the detectors and the overlap counts behind the reformers, image set by image set."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch

from monai_shield.detectors import Views
from monai_shield.evaluation.cells import Key
from monai_shield.fingerprints import fingerprint_of
from monai_shield.metrics import overlap_counts
from monai_shield.networks.heads import class_logits
from reproduction.image_set import VARIANTS, ImageSet
from reproduction.jobs import Job
from reproduction.networks import StudyNetworks
from reproduction.study_images import StudyImages

#: A detector and its seed; a seed of None for one without training.
Who = tuple[str, "int | None"]


class MeasuredCells:
    """
    Scores of every detector and overlap counts behind every reformer, each image predicted once for all of them.

    Args:
        networks: of the study.
        images: of the study.
    """

    def __init__(self, networks: StudyNetworks, images: StudyImages) -> None:
        self.networks, self.images = networks, images
        self.grid, self.data, self.cells = networks.grid, networks.data, networks.cells

    def sets(self) -> Iterator[ImageSet]:
        """Everything that is measured."""
        yield ImageSet("val")
        yield ImageSet("clean")
        for target in self.grid.every_target:
            for kind in ("whole", "val", "clean"):
                yield ImageSet(kind, target)
            for attack in self.grid.attacks:
                for variant in VARIANTS:
                    yield ImageSet(attack, target, variant)

    def score_keys(self, which: ImageSet) -> dict[Who, Key]:
        """The cells of a set's scores."""
        fingerprint = self.images.fingerprint(which)
        heading = f"scores/{which.name}"
        keys: dict[Who, Key] = {}
        if which.kind == "whole" or which.target in self.grid.robust_targets:
            return keys
        if which.target is None or which.kind in self.grid.attacks:
            for name, k in self.networks.trained_detectors():
                made = [fingerprint, self.networks.detector_fingerprint(name, k), self.grid.detectors[name].p]
                keys[name, k] = (heading, f"{name} {k}", fingerprint_of(made))
        if which.target is not None:
            reformer = self.networks.reformer_fingerprint(self.grid.consistency_reformer)
            for name, make in self.grid.baseline_detectors.items():
                made = [fingerprint, make, reformer, self.data.fingerprint("train")]
                keys[name, None] = (heading, name, fingerprint_of(made))
        return keys

    def count_keys(self, which: ImageSet) -> dict[str | None, Key]:
        """The cells of a set's overlap counts, by reformer; None for the bare target."""
        if which.target is None or which.kind == "val":
            return {}
        fingerprint = self.images.fingerprint(which)
        ways: list[str | None] = [None]
        if which.kind != "whole" and which.target not in self.grid.robust_targets:
            ways += self.grid.reformers
        keys: dict[str | None, Key] = {}
        for way in ways:
            made = None if way is None else self.networks.reformer_fingerprint(way)
            keys[way] = (f"counts/{which.name}", way or "bare", fingerprint_of([fingerprint, made]))
        return keys

    def jobs(self) -> Iterator[Job]:
        """A job for every set."""
        for which in self.sets():
            keys = [*self.score_keys(which).values(), *self.count_keys(which).values()]
            yield Job(which.name, partial(self._all_there, keys), partial(self._measure, which))

    def _all_there(self, keys: Sequence[Key]) -> bool:
        return all(self.cells.has(*key) for key in keys)

    @torch.no_grad()
    def _measure(self, which: ImageSet) -> None:
        networks, size = self.networks, self.networks.setup.settings.batch_size
        scores = {who: key for who, key in self.score_keys(which).items() if not self.cells.has(*key)}
        counts = {way: key for way, key in self.count_keys(which).items() if not self.cells.has(*key)}
        scored: dict[Who, list[torch.Tensor]] = {who: [] for who in scores}
        counted: dict[str | None, list[torch.Tensor]] = {way: [] for way in counts}
        images = self.images.images(which)
        labels = self.images.labels(which) if counts else images
        target = None if which.target is None else networks.target(which.target)
        reformer = networks.reformer(self.grid.consistency_reformer)
        for image, label in zip(images.split(size), labels.split(size)):
            views = Views(image.to(networks.device), target, reformer)
            for name, k in scores:
                detector = networks.baseline_detectors[name] if k is None else networks.detector(name, k)
                scored[name, k].append(detector(views).double().cpu())
            for way in counts:
                prediction = class_logits(self._logits(views, way)).argmax(1, keepdim=True).cpu()
                counted[way].append(overlap_counts(prediction, label, self.data.num_classes))
        for who, key in scores.items():
            self.cells.put(*key, {"scores": torch.cat(scored[who])})
        for way, key in counts.items():
            self.cells.put(*key, {"counts": torch.cat(counted[way])})

    def _logits(self, views: Views, reformer: str | None) -> torch.Tensor:
        if reformer is None:
            return views.prediction
        if reformer == self.grid.consistency_reformer:
            return views.reformed_prediction
        return views.prediction_under(self.networks.reformer(reformer))
