# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The stored values of a study, by scan and subject."""

import itertools
from fractions import Fraction
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch

from monai_shield.detectors import Calibration, Views
from monai_shield.evaluation.cells import Key
from monai_shield.metrics import SubjectResamples, dice_of_counts
from reproduction.calibration import adjusted_scores, paper_calibration
from reproduction.image_set import MEAN, POOLED, ImageSet
from reproduction.measured import Who
from reproduction.study import DefenseStudy

#: A row of a table, in plain JSON types.
Row = dict[str, Any]


class StudyValues:
    """
    Scores and overlap counts of a study that has run, by scan and subject.

    Args:
        study: the study.
        resamples: bootstrap draws of subjects.
    """

    def __init__(self, study: DefenseStudy, resamples: int = 1000) -> None:
        self.study = study
        self.draws = SubjectResamples(study.data.subjects, resamples)
        self.scan = {volume: place for place, volume in enumerate(study.data.volumes)}
        self.pooled = study.grid.pooled

    @cache  # noqa: B019 - values live as long as their summary
    def scores(self, which: ImageSet, who: Who, adjusted: bool = False) -> np.ndarray:
        """
        Scores of a set, (S,).

        Args:
            which: the set.
            who: a detector and its seed.
            adjusted: whether they are adjusted for foreground share, see
                :func:`~reproduction.calibration.adjusted_scores`.

        Raises:
            ValueError: for an adjusted score that has no logarithm, or a validation score that is not finite.
        """
        if adjusted:
            val = ImageSet("val")
            clean = self.scores(ImageSet("val", which.target if who[1] is None else None), who)
            own = self.scores(which, who)
            return adjusted_scores(
                own, self.log_share(which), clean, self.log_share(val), f"'{who[0]}' in '{which.name}'"
            )
        return self.cell(self.study.measured.score_keys(which)[who])["scores"].numpy()

    @cache  # noqa: B019
    def log_share(self, which: ImageSet) -> np.ndarray:
        """Logarithm of the share of foreground of each image of a set, (S,), as detectors see it."""
        return Views(self.study.images.images(which)).foreground_share.double().clamp_min(1e-6).log().numpy()

    @cache  # noqa: B019
    def counts(self, which: ImageSet, reformer: str | None) -> torch.Tensor:
        """Overlap counts of a set, (S, K, 3)."""
        return self.cell(self.study.measured.count_keys(which)[reformer])["counts"]

    @cache  # noqa: B019
    def scans(self, which: ImageSet) -> np.ndarray:
        """Which scan each image of a set is of, (S,)."""
        return np.array([self.scan[owner] for owner in self.study.images.owners(which)])

    @cache  # noqa: B019
    def clean_rows(self, attack: str) -> np.ndarray:
        """Which of the clean test slices are those that an attack was made from, (S,)."""
        return np.array(self.study.images.clean_rows(attack))

    def cell(self, key: Key) -> dict[str, Any]:
        """What a cell holds; an error where it is not there yet."""
        cell = self.study.cells.load(*key)
        if cell is None:
            raise ValueError(f"'{key[1]}' of '{key[0]}' is not there yet: run the study first.")
        return cell

    @cached_property
    def detectors(self) -> dict[str, list[Who]]:
        """Every detector, with each of its seeds."""
        found: dict[str, list[Who]] = {}
        for name, k in self.study.networks.trained_detectors():
            found.setdefault(name, []).append((name, k))
        return found | {name: [(name, None)] for name in self.study.grid.baseline_detectors}

    def clean_scores(self, target: str, who: Who, adjusted: bool = False) -> np.ndarray:
        """Scores of the clean test slices, (S,)."""
        return self.scores(ImageSet("clean", target if who[1] is None else None), who, adjusted)

    @cache  # noqa: B019
    def calibration(self, target: str, who: Who, t_fp: Fraction, adjusted: bool = False) -> Calibration:
        """The paper's threshold, on the validation slices."""
        clean = self.scores(ImageSet("val", target if who[1] is None else None), who, adjusted)
        return paper_calibration(clean, t_fp)

    def sets(self, target: str, attack: str) -> list[tuple[str, str]]:
        """The targets and attacks that a column stands for."""
        targets = list(self.study.grid.targets) if target == MEAN else [target]
        return list(itertools.product(targets, self.pooled if attack == POOLED else [attack]))

    def dice_by_scan(self, counts: torch.Tensor, scans: np.ndarray, chosen: np.ndarray | None = None) -> np.ndarray:
        """Dice of the stack of each scan's slices, all or the chosen ones, (V, K); NaN where there is nothing."""
        chosen = np.ones(len(scans), dtype=bool) if chosen is None else chosen
        sums = torch.zeros(len(self.scan), *counts.shape[1:], dtype=torch.long)
        sums.index_add_(0, torch.from_numpy(scans[chosen]), counts[torch.from_numpy(chosen)])
        return dice_of_counts(sums).numpy()

    def dice(self, counts: torch.Tensor, scans: np.ndarray, chosen: np.ndarray | None = None) -> np.ndarray:
        """Mean Dice of each scan, (V,); arguments as of :meth:`dice_by_scan`."""
        return known_mean(self.dice_by_scan(counts, scans, chosen).T)

    def mean_dice(self, counts: torch.Tensor, scans: np.ndarray) -> dict[str, float]:
        """Mean Dice over scans, all slices of each, with its interval."""
        return self.interval(self.dice(counts, scans))

    def by_scan(self, values: np.ndarray, scans: np.ndarray) -> np.ndarray:
        """Mean over each scan's slices, (V,), of a value of each slice, (S,)."""
        return np.array([values[members].mean() for members in self.members(scans)])

    def members(self, scans: np.ndarray) -> list[np.ndarray]:
        """Which slices are of each scan."""
        return [scans == place for place in self.scan.values()]

    def over_seeds(self, by_seed: Any) -> np.ndarray:
        """
        Mean over trainings of a statistic of each, (seeds, 1 + resamples), those without a value left out.

        Trainings are drawn as subjects are, the same ones for all detectors that were trained as often, so that an
        interval tells both how subjects differ and how trainings do.
        """
        values = np.asarray(by_seed, dtype=np.float64)
        number = len(values)
        drawn = np.random.default_rng(number).multinomial(number, np.full(number, 1 / number), values.shape[1] - 1)
        weights = np.vstack([np.ones(number), drawn]).T * ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            return (weights * np.nan_to_num(values)).sum(axis=0) / weights.sum(axis=0)

    def interval(self, by_scan: np.ndarray) -> dict[str, float]:
        """Mean over scans of a value of each scan, (V,), with its interval."""
        return self.draws.interval(self.draws.mean(by_scan))


def known_mean(values: Any) -> np.ndarray:
    """Mean over the first axis without NaN; NaN where nothing is left."""
    array = np.asarray(values, dtype=np.float64)
    number = (~np.isnan(array)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.where(number > 0, np.nansum(array, axis=0) / np.maximum(number, 1), np.nan)
