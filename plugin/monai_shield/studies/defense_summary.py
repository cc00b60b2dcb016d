# Copyright (c) The monai-shield authors.
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""From the cells of a study of defenses to the rows of its tables."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
import torch

from monai_shield.detectors import Calibration
from monai_shield.metrics import PersonResamples, detection_roc, dice_of_counts, residual_harm

from .defenses import FACTS, DefenseStudy
from .image_set import VARIANTS, ImageSet
from .summary import slice_dice

__all__ = ["MEAN", "POOLED", "DefenseSummary"]

#: In the column of the targets: the mean over them.
MEAN = "mean"
#: In the column of the attacks: the mean over those that are pooled.
POOLED = "pooled"
#: False-positive rates at which ROC curves are told.
GRID = np.linspace(0, 1, 101)
Row = dict[str, Any]
Who = tuple[str, "int | None"]


class DefenseSummary:
    """
    The rows of the tables of a study that has run, in plain JSON types; every interval is 95 %, over people.

    Args:
        study: it.
        comparisons: pairs of detectors whose AUCs are compared, on the same people.
        resamples: bootstrap draws.
    """

    def __init__(self, study: DefenseStudy, comparisons: Sequence[tuple[str, str]] = (), resamples: int = 1000) -> None:
        self.study = study
        self.comparisons = [tuple(pair) for pair in comparisons]
        self.draws = PersonResamples(study.data.persons, resamples)
        self.scan = {volume: place for place, volume in enumerate(study.data.volumes)}
        self.pooled = [name for name, part in study.attacks.items() if part.pooled]

    def as_dict(self) -> dict[str, list[Row]]:
        """Everything."""
        return {
            "detectors": [self._about(name) for name in self.everybody],
            "targets": [self._target(name) for name in self.study.everyone],
            "undefended": list(self._undefended()),
            "detection": list(self._detection()),
            "comparisons": list(self._compared()),
            "defenses": list(self._defended()),
            "rivals": list(self._rivals()),
            "roc": list(self._curves()),
        }

    # ---- what the cells hold

    @cache  # noqa: B019 - a summary is made once
    def scores(self, which: ImageSet, who: Who) -> np.ndarray:
        """Scores of a set, (S,)."""
        return self._cell(self.study.score_keys(which)[who])["scores"].numpy()

    @cache  # noqa: B019
    def counts(self, which: ImageSet, reformer: str | None) -> torch.Tensor:
        """Overlap counts of a set, (S, K, 3)."""
        return self._cell(self.study.count_keys(which)[reformer])["counts"]

    @cache  # noqa: B019
    def scans(self, which: ImageSet) -> np.ndarray:
        """Which scan each image of a set is of, (S,)."""
        return np.array([self.scan[owner] for owner in self.study.owners(which)])

    @cache  # noqa: B019
    def clean_rows(self, attack: str) -> np.ndarray:
        """Which of the clean test slices are those that an attack was made from, (S,)."""
        return np.array(self.study.clean_rows(attack))

    def _cell(self, key: tuple[str, str, str]) -> dict[str, Any]:
        cell = self.study.cells.load(*key)
        if cell is None:
            raise ValueError(f"'{key[1]}' of '{key[0]}' is not there yet: run the study first.")
        return cell

    # ---- targets

    def _target(self, name: str) -> Row:
        which = ImageSet("whole", name)
        counts, scans = self.counts(which, None), self.scans(which)
        table = self._dice_by_scan(counts, scans, np.ones(len(scans), dtype=bool))
        return {
            "target": name,
            "hardened": name in self.study.hardened,
            "parameters": _parameters(self.study.everyone[name].network()),
            "dice": self._interval(np.nanmean(table, axis=1)),
            "structures": {
                structure: self._interval(table[:, k]) for k, structure in enumerate(self.study.data.structures)
            },
        }

    def _undefended(self) -> Iterator[Row]:
        for target in self.study.everyone:
            for attack in self.study.attacks:
                facts = self._facts(target, attack)
                for variant in VARIANTS:
                    which = ImageSet(attack, target, variant)
                    scans = self.scans(which)
                    clean = self.counts(ImageSet("clean", target), None)[self.clean_rows(attack)]
                    yield {
                        "target": target,
                        "hardened": target in self.study.hardened,
                        "attack": attack,
                        "variant": variant,
                        "slices": len(scans),
                        "clean": self._mean_dice(clean, scans),
                        "attacked": self._mean_dice(self.counts(which, None), scans),
                        **facts,
                    }

    def _facts(self, target: str, attack: str) -> dict[str, float]:
        cells = [self._cell(self.study.adversarial_key(target, attack, volume)) for volume in self.study.data.volumes]
        return {name: float(torch.cat([cell[name] for cell in cells]).double().mean()) for name in FACTS}

    # ---- detection

    def _about(self, name: str) -> Row:
        part = self.study.detectors.get(name)
        size = 0 if part is None else _parameters(part.network())
        return {"detector": name, "group": self.group(name), "parameters": size, "seeds": len(self.everybody[name])}

    @cached_property
    def everybody(self) -> dict[str, list[Who]]:
        """Every detector, with each of its seeds."""
        found: dict[str, list[Who]] = {}
        for name, k in self.study.trained():
            found.setdefault(name, []).append((name, k))
        return found | {name: [(name, None)] for name in self.study.baselines}

    def group(self, name: str) -> str:
        """The table that a detector stands in."""
        return self.study.detectors[name].group if name in self.study.detectors else "baseline"

    @cached_property
    def _aucs(self) -> dict[tuple[str, str, str, str], np.ndarray]:
        """By detector, target, attack and variant: AUC by seed and resample, (seeds, 1 + resamples)."""
        found = {}
        for target in self.study.targets:
            for attack in self.study.attacks:
                rows = self.clean_rows(attack)
                for variant in VARIANTS:
                    which = ImageSet(attack, target, variant)
                    scans = self.scans(which)
                    for name, seeds in self.everybody.items():
                        found[name, target, attack, variant] = np.stack(
                            [
                                self.draws.auc(
                                    self.clean_scores(target, who)[rows], self.scores(which, who), scans, scans
                                )
                                for who in seeds
                            ]
                        )
        return found

    def clean_scores(self, target: str, who: Who) -> np.ndarray:
        """Scores of the clean test slices, (S,)."""
        return self.scores(ImageSet("clean", target if who[1] is None else None), who)

    @cache  # noqa: B019
    def calibration(self, target: str, who: Who, t_fp: Fraction) -> Calibration:
        """The paper's threshold, on the validation slices."""
        clean = self.scores(ImageSet("val", target if who[1] is None else None), who)
        return Calibration.fit(torch.from_numpy(clean), t_fp, "empirical")

    def auc(self, name: str, target: str, attack: str, variant: str) -> np.ndarray:
        """AUC by seed and resample, of a target or their mean, of an attack or the pooled ones."""
        targets = list(self.study.targets) if target == MEAN else [target]
        attacks = self.pooled if attack == POOLED else [attack]
        return np.mean([self._aucs[name, t, a, variant] for t in targets for a in attacks], axis=0)

    def _detection(self) -> Iterator[Row]:
        for name in self.everybody:
            for target, attack, variant in self._columns():
                auc = self.auc(name, target, attack, variant)
                yield {
                    "detector": name,
                    "group": self.group(name),
                    "target": target,
                    "attack": attack,
                    "variant": variant,
                    "auc": self.draws.interval(auc.mean(axis=0)),
                    "seeds": auc[:, 0].tolist(),
                }

    def _columns(self) -> Iterator[tuple[str, str, str]]:
        for target in (*self.study.targets, MEAN):
            for attack in (*self.study.attacks, POOLED):
                for variant in VARIANTS:
                    yield target, attack, variant

    def _compared(self) -> Iterator[Row]:
        for first, second in self.comparisons:
            if first in self.everybody and second in self.everybody:
                for target, attack, variant in self._columns():
                    one, other = (self.auc(name, target, attack, variant).mean(axis=0) for name in (first, second))
                    yield {
                        "first": first,
                        "second": second,
                        "target": target,
                        "attack": attack,
                        "variant": variant,
                        "difference": self.draws.interval(one - other),
                    }

    def _curves(self) -> Iterator[Row]:
        """Of every detector's first seed, the pooled attacks together."""
        for name, seeds in self.everybody.items():
            for variant in VARIANTS:
                curves = []
                for target in self.study.targets:
                    sets = [ImageSet(attack, target, variant) for attack in self.pooled]
                    attacked = np.concatenate([self.scores(which, seeds[0]) for which in sets])
                    clean = self.clean_scores(target, seeds[0])
                    curves.append(detection_roc(clean, attacked, GRID))
                yield {
                    "detector": name,
                    "group": self.group(name),
                    "variant": variant,
                    "true_positive_rate": np.mean(curves, axis=0).tolist(),
                }

    # ---- defenses

    def _defended(self) -> Iterator[Row]:
        """
        Every defense, by target and attack; decisions are averaged over the seeds of the detector.

        Where every image of an attack is rejected, none is left whose Dice could be told; a mean leaves it out.
        """
        for number, (*guards, reformer) in self.study.defenses.items():
            names = {"defense": number, "detector": ", then ".join(guards), "reformer": reformer}
            yield from self._rows(names, self.study.attacks, partial(self._defense, guards, reformer))

    def _rows(
        self, names: Row, attacks: Iterable[str], measure: Callable[[ImageSet], dict[str, np.ndarray]]
    ) -> Iterator[Row]:
        """A row for every set of attacked images, then for the pooled attacks on each target and on all of them."""
        pooled: dict[tuple[str, str], list[dict[str, np.ndarray]]] = {}
        for target, attack, variant in itertools.product(self.study.targets, attacks, VARIANTS):
            drawn = measure(ImageSet(attack, target, variant))
            yield self._row(names, target, attack, variant, drawn)
            if attack in self.pooled:
                for key in ((target, variant), (MEAN, variant)):
                    pooled.setdefault(key, []).append(drawn)
        for (target, variant), parts in pooled.items():
            means = {name: _mean([part[name] for part in parts]) for name in parts[0]}
            yield self._row(names, target, POOLED, variant, means)

    def _row(self, names: Row, target: str, attack: str, variant: str, drawn: Mapping[str, np.ndarray]) -> Row:
        where = {"target": target, "attack": attack, "variant": variant}
        return names | where | {name: self.draws.interval(each) for name, each in drawn.items()}

    def _defense(self, guards: Sequence[str], reformer: str, which: ImageSet) -> dict[str, np.ndarray]:
        """What one defense makes of one set of attacked images, each (1 + resamples,)."""
        target, rows, scans = which.target or "", self.clean_rows(which.kind), self.scans(which)
        bare, attacked = self.counts(ImageSet("clean", target), None)[rows], self.counts(which, None)
        reformed_clean = self.counts(ImageSet("clean", target), reformer)[rows]
        reformed = self.counts(which, reformer)
        by_seed = []
        for k in range(min(len(self.everybody[name]) for name in guards)):
            rejected, rejected_clean = np.zeros(len(scans), dtype=bool), np.zeros(len(scans), dtype=bool)
            for name in guards:
                who = self.everybody[name][k]
                calibration = self.calibration(target, who, Fraction(str(self.study.t_fp)) / len(guards))
                rejected |= _rejects(calibration, self.scores(which, who))
                rejected_clean |= _rejects(calibration, self.clean_scores(target, who)[rows])
            by_seed.append(self._readings(bare, attacked, reformed_clean, reformed, rejected, rejected_clean, scans))
        return {name: self.draws.mean(_mean([each[name] for each in by_seed])) for name in by_seed[0]}

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
            "undefended": self._dice(attacked, scans, everything),
            "reformed": self._dice(reformed, scans, everything),
            "accepted": self._dice(reformed, scans, ~rejected),
            "rejected_as_zero": self._dice(zeroed, scans, everything),
            "rejected_deferred": self._dice(deferred, scans, everything),
            "harm": np.array([residual_harm(before[m], after[m], rejected[m]) for m in self._members(scans)]),
            "accepted_attacked": self._by_scan(~rejected, scans),
            "accepted_clean": self._by_scan(~rejected_clean, scans),
            "clean": self._dice(bare, scans, everything),
            "clean_reformed": self._dice(reformed_clean, scans, everything),
        }

    def _rivals(self) -> Iterator[Row]:
        """Every rival, with the AUC of its own error, on the slices that it was asked for."""
        for name in self.study.rivals.parts:
            yield from self._rows({"rival": name}, self.pooled, partial(self._rival, name))

    def _rival(self, name: str, which: ImageSet) -> dict[str, np.ndarray]:
        """What a rival makes of one set of attacked images, each (1 + resamples,)."""
        rivals, target, clean = self.study.rivals, which.target or "", ImageSet("clean")
        scans = self.scans(which)[rivals.rows(name, which).numpy()]

        def searched(where: ImageSet) -> np.ndarray:
            return self._cell(rivals.search_key(name, where))["scores"].numpy()

        calibration = Calibration.fit(torch.from_numpy(searched(ImageSet("val"))), self.study.t_fp, "empirical")
        readings = self._readings(
            self.counts(ImageSet("clean", target), None)[rivals.rows(name, clean)],
            self.counts(which, None)[rivals.rows(name, which)],
            self._cell(rivals.count_key(name, clean, target))["counts"],
            self._cell(rivals.count_key(name, which, target))["counts"],
            _rejects(calibration, searched(which)),
            _rejects(calibration, searched(clean)),
            scans,
        )
        drawn = {reading: self.draws.mean(values) for reading, values in readings.items()}
        return {"auc": self.draws.auc(searched(clean), searched(which), scans, scans)} | drawn

    # ---- Dice

    def _dice_by_scan(self, counts: torch.Tensor, scans: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Dice of the stack of each scan's chosen slices, (V, K); NaN where there is nothing."""
        sums = torch.zeros(len(self.scan), *counts.shape[1:], dtype=torch.long)
        sums.index_add_(0, torch.from_numpy(scans[chosen]), counts[torch.from_numpy(chosen)])
        return dice_of_counts(sums).numpy()

    def _dice(self, counts: torch.Tensor, scans: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Mean Dice of each scan, (V,)."""
        return _mean(self._dice_by_scan(counts, scans, chosen).T)

    def _mean_dice(self, counts: torch.Tensor, scans: np.ndarray) -> dict[str, float]:
        return self._interval(self._dice(counts, scans, np.ones(len(scans), dtype=bool)))

    def _by_scan(self, values: np.ndarray, scans: np.ndarray) -> np.ndarray:
        return np.array([values[members].mean() for members in self._members(scans)])

    def _members(self, scans: np.ndarray) -> list[np.ndarray]:
        """Which slices are of each scan."""
        return [scans == place for place in self.scan.values()]

    def _interval(self, by_scan: np.ndarray) -> dict[str, float]:
        return self.draws.interval(self.draws.mean(by_scan))


def _rejects(calibration: Calibration, scores: np.ndarray) -> np.ndarray:
    return calibration.rejects(torch.from_numpy(scores)).numpy()


def _mean(values: Any) -> np.ndarray:
    """Mean over the first axis without NaN; NaN where nothing is left."""
    array = np.asarray(values, dtype=np.float64)
    number = (~np.isnan(array)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.where(number > 0, np.nansum(array, axis=0) / np.maximum(number, 1), np.nan)


def _parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
