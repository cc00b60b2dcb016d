# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Rows of the tables of defenses: what each leaves of an attack."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial

import numpy as np
import torch

from monai_shield.detectors import Calibration, sequential_score
from reproduction.calibration import adjusted_scores, paper_calibration
from reproduction.defended import Defended, measures
from reproduction.image_set import MEAN, POOLED, VARIANTS, ImageSet
from reproduction.study_values import Row, StudyValues, known_mean


class DefenseRows:
    """
    Variants of Dice, residual harm and accepted shares, of defenses and of baseline defenses.

    Args:
        values: of the study.
    """

    def __init__(self, values: StudyValues) -> None:
        self.values = values
        self.study, self.grid = values.study, values.study.grid
        self.draws = values.draws

    def defended(self) -> Iterator[Row]:
        """
        Every defense, by target and attack; decisions are averaged over the seeds of the detector.

        Where every image of an attack is rejected, the accepted images have no Dice; a mean leaves it out.
        """
        for number, (*guards, reformer) in self.grid.defenses.items():
            for adjusted in (False, True):
                names = {"defense": number, "detector": ", then ".join(guards), "reformer": reformer}
                measure = partial(self._defense, guards, reformer, adjusted)
                yield from self._rows(names | {"adjusted": adjusted}, self.grid.attacks, measure)

    def _rows(
        self, names: Row, attacks: Iterable[str], measure: Callable[[ImageSet], dict[str, np.ndarray]]
    ) -> Iterator[Row]:
        """A row for every set of attacked images, then for the pooled attacks on each target and on all of them."""
        pooled: dict[tuple[str, str], list[dict[str, np.ndarray]]] = {}
        for target, attack, variant in itertools.product(self.grid.targets, attacks, VARIANTS):
            drawn = measure(ImageSet(attack, target, variant))
            yield self._row(names, target, attack, variant, drawn)
            if attack in self.values.pooled:
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
        target, rows, scans = which.target or "", self.values.clean_rows(which.kind), self.values.scans(which)
        bare, attacked = self.values.counts(ImageSet("clean", target), None)[rows], self.values.counts(which, None)
        reformed_clean = self.values.counts(ImageSet("clean", target), reformer)[rows]
        reformed = self.values.counts(which, reformer)
        share = Fraction(str(self.study.settings.t_fp)) / len(guards)
        by_seed, aucs = [], []
        for k in range(min(len(self.values.detectors[name]) for name in guards)):
            seeds = [self.values.detectors[name][k] for name in guards]
            calibrations = [self.values.calibration(target, who, share, adjusted) for who in seeds]
            scores = [self.values.scores(which, who, adjusted) for who in seeds]
            clean = [self.values.clean_scores(target, who, adjusted)[rows] for who in seeds]
            rejected, rejected_clean = (_rejected(calibrations, each) for each in (scores, clean))
            defended = Defended(bare, attacked, reformed_clean, reformed, rejected, rejected_clean, scans)
            by_seed.append(measures(defended, self.values))
            aucs.append(self.draws.auc(_joint(calibrations, clean), _joint(calibrations, scores), scans, scans))
        over_seeds = self.values.over_seeds
        drawn = {name: over_seeds([self.draws.mean(each[name]) for each in by_seed]) for name in by_seed[0]}
        return {"auc": over_seeds(aucs)} | drawn

    def baseline(self) -> Iterator[Row]:
        """Every baseline defense, with the AUC of its own error, on the slices that it is measured on."""
        for name in self.grid.baseline_defenses:
            for adjusted in (False, True):
                names = {"defense": name, "adjusted": adjusted}
                yield from self._rows(names, self.values.pooled, partial(self._baseline, name, adjusted))

    def _baseline(self, name: str, adjusted: bool, which: ImageSet) -> dict[str, np.ndarray]:
        """What a baseline defense makes of one set of attacked images, each (1 + resamples,)."""
        cells, target, clean = self.study.baselines, which.target or "", ImageSet("clean")
        scans = self.values.scans(which)[cells.rows(name, which).numpy()]

        def found(where: ImageSet) -> tuple[np.ndarray, np.ndarray]:
            """Scores, and the logarithms of the shares of foreground of the slices that they are of."""
            scores = self.values.cell(cells.search_key(name, where))["scores"].numpy()
            return scores, self.values.log_share(where)[cells.rows(name, where).numpy()]

        def searched(where: ImageSet) -> np.ndarray:
            if not adjusted:
                return found(where)[0]
            return adjusted_scores(*found(where), *found(ImageSet("val")), f"'{name}' in '{where.name}'")

        calibration = paper_calibration(searched(ImageSet("val")), self.study.settings.t_fp)
        defended = Defended(
            self.values.counts(ImageSet("clean", target), None)[cells.rows(name, clean)],
            self.values.counts(which, None)[cells.rows(name, which)],
            self.values.cell(cells.count_key(name, clean, target))["counts"],
            self.values.cell(cells.count_key(name, which, target))["counts"],
            _rejected([calibration], [searched(which)]),
            _rejected([calibration], [searched(clean)]),
            scans,
        )
        drawn = {measure: self.draws.mean(each) for measure, each in measures(defended, self.values).items()}
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
