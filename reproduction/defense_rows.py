# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Rows about what the defenses of a study leave of an attack."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial

import numpy as np
import torch

from monai_shield.detectors import Calibration, sequential_score
from monai_shield.evaluation.summary import slice_dice
from monai_shield.metrics import residual_harm
from reproduction.dice_variants import Row, StudyReadings, adjusted_scores, known_mean, paper_calibration
from reproduction.image_set import MEAN, POOLED, VARIANTS, ImageSet


class DefenseRows:
    """
    Dice in its four readings, residual harm and accepted shares, of defenses and of rivals.

    Args:
        readings: of the study.
    """

    def __init__(self, readings: StudyReadings) -> None:
        self.readings = readings
        self.study = readings.study
        self.draws = readings.draws

    def defended(self) -> Iterator[Row]:
        """
        Every defense, by target and attack; decisions are averaged over the seeds of the detector.

        Where every image of an attack is rejected, none is left whose Dice could be told; a mean leaves it out.
        """
        for number, (*guards, reformer) in self.study.defenses.items():
            for adjusted in (False, True):
                names = {"defense": number, "detector": ", then ".join(guards), "reformer": reformer}
                measure = partial(self._defense, guards, reformer, adjusted)
                yield from self._rows(names | {"adjusted": adjusted}, self.study.attacks, measure)

    def _rows(
        self, names: Row, attacks: Iterable[str], measure: Callable[[ImageSet], dict[str, np.ndarray]]
    ) -> Iterator[Row]:
        """A row for every set of attacked images, then for the pooled attacks on each target and on all of them."""
        pooled: dict[tuple[str, str], list[dict[str, np.ndarray]]] = {}
        for target, attack, variant in itertools.product(self.study.targets, attacks, VARIANTS):
            drawn = measure(ImageSet(attack, target, variant))
            yield self._row(names, target, attack, variant, drawn)
            if attack in self.readings.pooled:
                for key in ((target, variant), (MEAN, variant)):
                    pooled.setdefault(key, []).append(drawn)
        for (target, variant), parts in pooled.items():
            means = {name: known_mean([part[name] for part in parts]) for name in parts[0]}
            yield self._row(names, target, POOLED, variant, means)

    def _row(self, names: Row, target: str, attack: str, variant: str, drawn: Mapping[str, np.ndarray]) -> Row:
        where = {"target": target, "attack": attack, "variant": variant}
        return names | where | {name: self.draws.interval(each) for name, each in drawn.items()}

    def _defense(self, guards: Sequence[str], reformer: str, adjusted: bool, which: ImageSet) -> dict[str, np.ndarray]:
        """What one defense makes of one set of attacked images, each (1 + resamples,)."""
        target, rows, scans = which.target or "", self.readings.clean_rows(which.kind), self.readings.scans(which)
        bare, attacked = self.readings.counts(ImageSet("clean", target), None)[rows], self.readings.counts(which, None)
        reformed_clean = self.readings.counts(ImageSet("clean", target), reformer)[rows]
        reformed = self.readings.counts(which, reformer)
        share = Fraction(str(self.study.t_fp)) / len(guards)
        by_seed, aucs = [], []
        for k in range(min(len(self.readings.everybody[name]) for name in guards)):
            seeds = [self.readings.everybody[name][k] for name in guards]
            calibrations = [self.readings.calibration(target, who, share, adjusted) for who in seeds]
            scores = [self.readings.scores(which, who, adjusted) for who in seeds]
            clean = [self.readings.clean_scores(target, who, adjusted)[rows] for who in seeds]
            rejected, rejected_clean = (_rejected(calibrations, each) for each in (scores, clean))
            by_seed.append(self._readings(bare, attacked, reformed_clean, reformed, rejected, rejected_clean, scans))
            aucs.append(self.draws.auc(_joint(calibrations, clean), _joint(calibrations, scores), scans, scans))
        over_seeds = self.readings.over_seeds
        readings = {name: over_seeds([self.draws.mean(each[name]) for each in by_seed]) for name in by_seed[0]}
        return {"auc": over_seeds(aucs)} | readings

    def _readings(
        self,
        bare: torch.Tensor,
        attacked: torch.Tensor,
        reformed_clean: torch.Tensor,
        reformed: torch.Tensor,
        rejected: np.ndarray,
        rejected_clean: np.ndarray,
        scans: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """
        Every reading of one defense, each by scan, (V,).

        Args:
            bare: overlap counts of the clean slices without a defense, (S, K, 3).
            attacked: of the attacked slices without one.
            reformed_clean: of the reformed clean slices.
            reformed: of the reformed attacked slices.
            rejected: which attacked slices are rejected, (S,).
            rejected_clean: which clean ones.
            scans: which scan each slice is of, (S,).
        """
        zeroed = reformed.clone()
        zeroed[torch.from_numpy(rejected), :, :2] = 0
        deferred = torch.where(torch.from_numpy(rejected)[:, None, None], bare, reformed)
        before, after = slice_dice(bare), slice_dice(reformed)
        everything = np.ones(len(scans), dtype=bool)
        return {
            "undefended": self.readings.dice(attacked, scans, everything),
            "reformed": self.readings.dice(reformed, scans, everything),
            "accepted": self.readings.dice(reformed, scans, ~rejected),
            "rejected_as_zero": self.readings.dice(zeroed, scans, everything),
            "rejected_deferred": self.readings.dice(deferred, scans, everything),
            "harm": np.array([residual_harm(before[m], after[m], rejected[m]) for m in self.readings.members(scans)]),
            "accepted_attacked": self.readings.by_scan(~rejected, scans),
            "accepted_clean": self.readings.by_scan(~rejected_clean, scans),
            "clean": self.readings.dice(bare, scans, everything),
            "clean_reformed": self.readings.dice(reformed_clean, scans, everything),
        }

    def rivals(self) -> Iterator[Row]:
        """Every rival, with the AUC of its own error, on the slices that it was asked for."""
        for name in self.study.rivals.parts:
            for adjusted in (False, True):
                names = {"rival": name, "adjusted": adjusted}
                yield from self._rows(names, self.readings.pooled, partial(self._rival, name, adjusted))

    def _rival(self, name: str, adjusted: bool, which: ImageSet) -> dict[str, np.ndarray]:
        """What a rival makes of one set of attacked images, each (1 + resamples,)."""
        rivals, target, clean = self.study.rivals, which.target or "", ImageSet("clean")
        scans = self.readings.scans(which)[rivals.rows(name, which).numpy()]

        def found(where: ImageSet) -> tuple[np.ndarray, np.ndarray]:
            """Scores, and the logarithms of the shares of foreground of the slices that they are of."""
            scores = self.readings.cell(rivals.search_key(name, where))["scores"].numpy()
            return scores, self.readings.log_share(where)[rivals.rows(name, where).numpy()]

        def searched(where: ImageSet) -> np.ndarray:
            if not adjusted:
                return found(where)[0]
            return adjusted_scores(*found(where), *found(ImageSet("val")), f"'{name}' in '{where.name}'")

        calibration = paper_calibration(searched(ImageSet("val")), self.study.t_fp)
        readings = self._readings(
            self.readings.counts(ImageSet("clean", target), None)[rivals.rows(name, clean)],
            self.readings.counts(which, None)[rivals.rows(name, which)],
            self.readings.cell(rivals.count_key(name, clean, target))["counts"],
            self.readings.cell(rivals.count_key(name, which, target))["counts"],
            _rejected([calibration], [searched(which)]),
            _rejected([calibration], [searched(clean)]),
            scans,
        )
        drawn = {reading: self.draws.mean(values) for reading, values in readings.items()}
        return {"auc": self.draws.auc(searched(clean), searched(which), scans, scans)} | drawn


def _rejected(calibrations: Sequence[Calibration], scores: Sequence[np.ndarray]) -> np.ndarray:
    """Which images, (S,), any of the detectors rejects, from the scores of each, (S,)."""
    answers = [calibration.rejects(torch.from_numpy(each)) for calibration, each in zip(calibrations, scores)]
    return torch.stack(answers).any(dim=0).numpy()


def _joint(calibrations: Sequence[Calibration], scores: Sequence[np.ndarray]) -> np.ndarray:
    """One score, (S,), out of those of each detector: its own where there is but one."""
    if len(scores) == 1:
        return scores[0]
    stages = [(torch.from_numpy(each), calibration) for calibration, each in zip(calibrations, scores)]
    return sequential_score(stages).numpy()
