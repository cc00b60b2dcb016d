# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Rows about how well the detectors of a study detect."""

import itertools
from collections.abc import Iterator
from functools import cache

import numpy as np
import torch

from monai_shield.detectors import PredictionConsistency
from monai_shield.metrics import detection_roc, outranks
from reproduction.image_set import MEAN, POOLED, VARIANTS, ImageSet
from reproduction.measured import Who
from reproduction.study_values import Row, StudyValues

#: False-positive rates at which ROC curves are told.
GRID = np.linspace(0, 1, 101)


class DetectionRows:
    """
    AUC of every detector, differences between them, and ROC curves.

    Args:
        values: of the study.
    """

    def __init__(self, values: StudyValues) -> None:
        self.values = values
        self.data, self.grid = values.study.data, values.study.grid
        self.draws = values.draws

    def about(self, name: str) -> Row:
        """A detector, the length of its training, and its error after each of them."""
        part, seeds = self.grid.detectors.get(name), self.values.detectors[name]
        val = ImageSet("val")
        return {
            "detector": name,
            "group": self.group(name),
            "parameters": self._size(name),
            "seeds": len(seeds),
            "steps": 0 if part is None else part.training.steps(len(self.data.train)),
            "p": None if part is None else part.p,
            "val_error": [] if part is None else [float(self.values.scores(val, who).mean()) for who in seeds],
        }

    def _size(self, name: str) -> int:
        """How many numbers the networks that a detector asks have learned, but for the target."""
        if name in self.grid.detectors:
            return number_of_parameters(self.grid.detectors[name].network())
        made = self.grid.baseline_detectors[name]()
        if isinstance(made, PredictionConsistency) and made.reformer is None:
            reformer = self.grid.reformers[self.grid.consistency_reformer]
            return self._size(reformer) if isinstance(reformer, str) else number_of_parameters(reformer)
        return number_of_parameters(made)

    def group(self, name: str) -> str:
        """The table that a detector stands in."""
        return self.grid.detectors[name].group if name in self.grid.detectors else "baseline"

    def auc(self, name: str, target: str, attack: str, variant: str, adjusted: bool = False) -> np.ndarray:
        """(seeds, 1 + resamples), in percent; of a target or their mean, of an attack or of those that are pooled."""
        sets = [ImageSet(a, t, variant) for t, a in self.values.sets(target, attack)]
        seeds = self.values.detectors[name]
        return np.mean([[self._auc(who, which, adjusted) for who in seeds] for which in sets], axis=0)

    @cache  # noqa: B019 - rows live as long as their summary
    def _auc(self, who: Who, which: ImageSet, adjusted: bool) -> np.ndarray:
        scans = self.values.scans(which)
        return self.draws.auc(*self._clean_and_attacked(who, which, adjusted), scans, scans)

    def _clean_and_attacked(self, who: Who, which: ImageSet, adjusted: bool) -> tuple[np.ndarray, np.ndarray]:
        """Scores of attacked slices, and before them of the clean slices they were made from, (S,) each."""
        rows = self.values.clean_rows(which.kind)
        clean = self.values.clean_scores(which.target or "", who, adjusted)[rows]
        return clean, self.values.scores(which, who, adjusted)

    def paired_win_rate(self, name: str, target: str, attack: str, variant: str) -> np.ndarray:
        """
        Share of the attacked slices, in percent, that score above the clean slice they were made from.

        What it has over the AUC is what the differences between clean slices cost; no single image can have it.
        """

        def share(who: Who, which: ImageSet) -> np.ndarray:
            higher = outranks(*self._clean_and_attacked(who, which, adjusted=False))
            return self.draws.mean(self.values.by_scan(higher, self.values.scans(which)))

        sets = [ImageSet(a, t, variant) for t, a in self.values.sets(target, attack)]
        by_seed = [np.mean([share(who, which) for which in sets], axis=0) for who in self.values.detectors[name]]
        return 100 * self.values.over_seeds(by_seed)

    def detection(self) -> Iterator[Row]:
        """Every detector on every target, attack and variant, and on their means."""
        for name in self.values.detectors:
            for target, attack, variant in self._columns():
                column = (name, target, attack, variant)
                auc = self.auc(*column)
                yield {
                    "detector": name,
                    "group": self.group(name),
                    "target": target,
                    "attack": attack,
                    "variant": variant,
                    "auc": self.draws.interval(self.values.over_seeds(auc)),
                    "seeds": auc[:, 0].tolist(),
                    "paired_win_rate": self.draws.interval(self.paired_win_rate(*column)),
                    "adjusted": self.draws.interval(self.values.over_seeds(self.auc(*column, adjusted=True))),
                }

    def _columns(self) -> Iterator[tuple[str, str, str]]:
        return itertools.product((*self.grid.targets, MEAN), (*self.grid.attacks, POOLED), VARIANTS)

    def compared(self) -> Iterator[Row]:
        """
        Every comparison on every target, attack and variant, and on their means.

        Of detectors that were not trained equally often the first trainings are compared: they began with one seed.
        """
        for first, second in self.grid.comparisons:
            for target, attack, variant in self._columns():
                one, other = (self.auc(name, target, attack, variant) for name in (first, second))
                seeds = min(len(one), len(other))
                yield {
                    "first": first,
                    "second": second,
                    "target": target,
                    "attack": attack,
                    "variant": variant,
                    "seeds": seeds,
                    "difference": self.draws.interval(self.values.over_seeds(one[:seeds] - other[:seeds])),
                }

    def curves(self) -> Iterator[Row]:
        """Of every detector's first seed, the pooled attacks together."""
        for name, seeds in self.values.detectors.items():
            for variant in VARIANTS:
                curves = []
                for target in self.grid.targets:
                    sets = [ImageSet(attack, target, variant) for attack in self.values.pooled]
                    attacked = np.concatenate([self.values.scores(which, seeds[0]) for which in sets])
                    clean = self.values.clean_scores(target, seeds[0])
                    curves.append(detection_roc(clean, attacked, GRID))
                yield {
                    "detector": name,
                    "group": self.group(name),
                    "variant": variant,
                    "true_positive_rate": np.mean(curves, axis=0).tolist(),
                }


def number_of_parameters(network: torch.nn.Module) -> int:
    """How many numbers a network has learned."""
    return sum(parameter.numel() for parameter in network.parameters())
