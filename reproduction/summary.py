# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The tables of a study of defenses, as rows."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from reproduction.defense_rows import DefenseRows
from reproduction.detection_rows import DetectionRows, number_of_parameters
from reproduction.dice_variants import Row, StudyReadings
from reproduction.image_set import VARIANTS, ImageSet
from reproduction.study import DefenseStudy


class DefenseSummary:
    """
    The rows of the tables of a study that has run, in plain JSON types; every interval is 95 %, over subjects.

    Args:
        study: it.
        comparisons: pairs of detectors that are compared, see :class:`DetectionRows`.
        resamples: bootstrap draws.

    Raises:
        ValueError: when a comparison names a detector that the study does not know.
    """

    def __init__(self, study: DefenseStudy, comparisons: Sequence[tuple[str, str]] = (), resamples: int = 1000) -> None:
        self.study = study
        self.readings = StudyReadings(study, resamples)
        self.detection = DetectionRows(self.readings, comparisons)
        self.defenses = DefenseRows(self.readings)

    def as_dict(self) -> dict[str, list[Row]]:
        """Everything."""
        return {
            "detectors": [self.detection.about(name) for name in self.readings.everybody],
            "targets": [self._target(name) for name in self.study.everyone],
            "undefended": list(self._undefended()),
            "detection": list(self.detection.detection()),
            "comparisons": list(self.detection.compared()),
            "defenses": list(self.defenses.defended()),
            "rivals": list(self.defenses.rivals()),
            "roc": list(self.detection.curves()),
        }

    def _target(self, name: str) -> Row:
        which = ImageSet("whole", name)
        counts, scans = self.readings.counts(which, None), self.readings.scans(which)
        table = self.readings.dice_by_scan(counts, scans, np.ones(len(scans), dtype=bool))
        return {
            "target": name,
            "hardened": name in self.study.hardened,
            "steps": self.study.everyone[name].training.steps(len(self.study.data.train)),
            "parameters": number_of_parameters(self.study.everyone[name].network()),
            "dice": self.readings.interval(np.nanmean(table, axis=1)),
            "structures": {
                structure: self.readings.interval(table[:, k]) for k, structure in enumerate(self.study.data.structures)
            },
        }

    def _undefended(self) -> Iterator[Row]:
        for target in self.study.everyone:
            for attack in self.study.attacks:
                for variant in VARIANTS:
                    which = ImageSet(attack, target, variant)
                    scans = self.readings.scans(which)
                    clean = self.readings.counts(ImageSet("clean", target), None)[self.readings.clean_rows(attack)]
                    yield {
                        "target": target,
                        "hardened": target in self.study.hardened,
                        "attack": attack,
                        "variant": variant,
                        "slices": len(scans),
                        "clean": self.readings.mean_dice(clean, scans),
                        "attacked": self.readings.mean_dice(self.readings.counts(which, None), scans),
                        **self._facts(which),
                    }

    def _facts(self, which: ImageSet) -> dict[str, float]:
        """How large the attack is, as it arrives, and what it took to make it."""
        target, attack = which.target or "", which.kind
        clean = self.study.images(ImageSet("clean"))[self.readings.clean_rows(attack)]
        change = (self.study.images(which) - clean).flatten(1).double()
        cells = [
            self.readings.cell(self.study.adversarial_key(target, attack, volume)) for volume in self.study.data.volumes
        ]
        return {
            "norm_linf": float(change.abs().amax(dim=1).mean()),
            "norm_l2": float(change.norm(dim=1).mean()),
            **{name: float(torch.cat([cell[name] for cell in cells]).double().mean()) for name in ("steps", "success")},
        }
