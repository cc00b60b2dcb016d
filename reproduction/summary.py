# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The tables of a study of defenses, as rows."""

from collections.abc import Iterator

import numpy as np
import torch

from reproduction.defense_rows import DefenseRows
from reproduction.detection_rows import DetectionRows, number_of_parameters
from reproduction.image_set import VARIANTS, ImageSet
from reproduction.study import DefenseStudy
from reproduction.study_values import Row, StudyValues


class DefenseSummary:
    """
    The rows of the tables of a study that has run, in plain JSON types; every interval is 95 %, over subjects.

    Args:
        study: the study.
        resamples: bootstrap draws.
    """

    def __init__(self, study: DefenseStudy, resamples: int = 1000) -> None:
        self.study, self.grid = study, study.grid
        self.values = StudyValues(study, resamples)
        self.detection = DetectionRows(self.values)
        self.defenses = DefenseRows(self.values)

    def as_dict(self) -> dict[str, list[Row]]:
        """Everything."""
        return {
            "detectors": [self.detection.about(name) for name in self.values.detectors],
            "targets": [self._target(name) for name in self.grid.every_target],
            "undefended": list(self._undefended()),
            "detection": list(self.detection.detection()),
            "comparisons": list(self.detection.compared()),
            "defenses": list(self.defenses.defended()),
            "baseline_defenses": list(self.defenses.baseline()),
            "roc": list(self.detection.curves()),
        }

    def _target(self, name: str) -> Row:
        which = ImageSet("whole", name)
        counts, scans = self.values.counts(which, None), self.values.scans(which)
        table = self.values.dice_by_scan(counts, scans)
        return {
            "target": name,
            "robust": name in self.grid.robust_targets,
            "steps": self.grid.every_target[name].training.steps(len(self.study.data.train)),
            "parameters": number_of_parameters(self.grid.every_target[name].network()),
            "dice": self.values.interval(np.nanmean(table, axis=1)),
            "structures": {
                structure: self.values.interval(table[:, k]) for k, structure in enumerate(self.study.data.structures)
            },
        }

    def _undefended(self) -> Iterator[Row]:
        for target in self.grid.every_target:
            for attack in self.grid.attacks:
                for variant in VARIANTS:
                    which = ImageSet(attack, target, variant)
                    scans = self.values.scans(which)
                    clean = self.values.counts(ImageSet("clean", target), None)[self.values.clean_rows(attack)]
                    yield {
                        "target": target,
                        "robust": target in self.grid.robust_targets,
                        "attack": attack,
                        "variant": variant,
                        "slices": len(scans),
                        "clean": self.values.mean_dice(clean, scans),
                        "attacked": self.values.mean_dice(self.values.counts(which, None), scans),
                        **self._facts(which),
                    }

    def _facts(self, which: ImageSet) -> dict[str, float]:
        """How large the attack is, as it arrives, and what it took to make it."""
        target, attack = which.target or "", which.kind
        clean = self.study.images.images(ImageSet("clean"))[self.values.clean_rows(attack)]
        change = (self.study.images.images(which) - clean).flatten(1).double()
        keys = [self.study.images.adversarial_key(target, attack, volume) for volume in self.study.data.volumes]
        cells = [self.values.cell(key) for key in keys]
        return {
            "norm_linf": float(change.abs().amax(dim=1).mean()),
            "norm_l2": float(change.norm(dim=1).mean()),
            **{name: float(torch.cat([cell[name] for cell in cells]).double().mean()) for name in ("steps", "success")},
        }
