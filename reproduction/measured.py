# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What the detectors and targets of a study say about its images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from monai_shield.detectors import Views
from monai_shield.evaluation.cells import Key
from monai_shield.fingerprints import fingerprint_of
from monai_shield.metrics import overlap_counts
from monai_shield.networks.heads import class_logits
from reproduction.image_set import VARIANTS, ImageSet
from reproduction.jobs import Job

if TYPE_CHECKING:
    from reproduction.study import DefenseStudy

#: A detector and its seed; a seed of None for one without training.
Who = tuple[str, "int | None"]


class MeasuredCells:
    """
    Scores of every detector and overlap counts behind every reformer, each image predicted once for all of them.

    Args:
        study: whose images, networks and detectors they are.
    """

    def __init__(self, study: DefenseStudy) -> None:
        self.study = study

    def sets(self) -> Iterator[ImageSet]:
        """Everything that is measured."""
        yield ImageSet("val")
        yield ImageSet("clean")
        for target in self.study.everyone:
            for kind in ("whole", "val", "clean"):
                yield ImageSet(kind, target)
            for attack in self.study.attacks:
                for variant in VARIANTS:
                    yield ImageSet(attack, target, variant)

    def score_keys(self, which: ImageSet) -> dict[Who, Key]:
        """The cells of a set's scores."""
        study = self.study
        fingerprint = study.set_fingerprint(which)
        heading = f"scores/{which.name}"
        keys: dict[Who, Key] = {}
        if which.kind == "whole" or which.target in study.hardened:
            return keys
        if which.target is None or which.kind in study.attacks:
            for name, k in study.trained():
                made = [fingerprint, study.detector_fingerprint(name, k), study.detectors[name].p]
                keys[name, k] = (heading, f"{name} {k}", fingerprint_of(made))
        if which.target is not None:
            reformer = study.reformer_fingerprint(study.consistency_reformer)
            for name, make in study.baselines.items():
                made = [fingerprint, make, reformer, study.data.fingerprint("train")]
                keys[name, None] = (heading, name, fingerprint_of(made))
        return keys

    def count_keys(self, which: ImageSet) -> dict[str | None, Key]:
        """The cells of a set's overlap counts, by reformer; None for the bare target."""
        study = self.study
        if which.target is None or which.kind == "val":
            return {}
        fingerprint = study.set_fingerprint(which)
        ways: list[str | None] = [None]
        if which.kind != "whole" and which.target not in study.hardened:
            ways += study.reformers
        keys: dict[str | None, Key] = {}
        for way in ways:
            made = None if way is None else study.reformer_fingerprint(way)
            keys[way] = (f"counts/{which.name}", way or "bare", fingerprint_of([fingerprint, made]))
        return keys

    def jobs(self) -> Iterator[Job]:
        """A job for every set."""
        for which in self.sets():
            keys = [*self.score_keys(which).values(), *self.count_keys(which).values()]
            yield Job(which.name, partial(self._all_there, keys), partial(self._measure, which))

    def _all_there(self, keys: Sequence[Key]) -> bool:
        return all(self.study.cells.has(*key) for key in keys)

    @torch.no_grad()
    def _measure(self, which: ImageSet) -> None:
        study = self.study
        scores = {who: key for who, key in self.score_keys(which).items() if not study.cells.has(*key)}
        counts = {way: key for way, key in self.count_keys(which).items() if not study.cells.has(*key)}
        scored: dict[Who, list[torch.Tensor]] = {who: [] for who in scores}
        counted: dict[str | None, list[torch.Tensor]] = {way: [] for way in counts}
        images = study.images(which)
        labels = study.labels(which) if counts else images
        target = None if which.target is None else study.target(which.target)
        reformer = study.reformer(study.consistency_reformer)
        for image, label in zip(images.split(study.batch_size), labels.split(study.batch_size)):
            views = Views(image.to(study.device), target, reformer)
            for name, k in scores:
                detector = study.fitted_baselines[name] if k is None else study.detector(name, k)
                scored[name, k].append(detector(views).double().cpu())
            for way in counts:
                prediction = class_logits(self._logits(views, way)).argmax(1, keepdim=True).cpu()
                counted[way].append(overlap_counts(prediction, label, study.data.num_classes))
        for who, key in scores.items():
            study.cells.put(*key, {"scores": torch.cat(scored[who])})
        for way, key in counts.items():
            study.cells.put(*key, {"counts": torch.cat(counted[way])})

    def _logits(self, views: Views, reformer: str | None) -> torch.Tensor:
        if reformer is None:
            return views.prediction
        if reformer == self.study.consistency_reformer:
            return views.reformed_prediction
        return views.prediction_under(self.study.reformer(reformer))
