# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""From the cells of an evaluation to its numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from monai_shield.detectors import Calibration
from monai_shield.metrics import (
    SubjectResamples,
    dice_of_counts,
    rejected_as_zero,
    rejected_deferred,
    residual_harm,
)

Cells = Mapping[str, Mapping[str, Any]]


def stacked_dice(counts: torch.Tensor) -> np.ndarray:
    """Dice per structure, (K,), of the stack of the slices whose counts, (S, K, 3), are given."""
    return dice_of_counts(counts.sum(dim=0)).numpy()


def slice_dice(counts: torch.Tensor) -> np.ndarray:
    """Mean Dice of each slice, (S,); one without any structure, in label and prediction alike, has lost nothing."""
    return np.nan_to_num(np.array([_mean(row) for row in dice_of_counts(counts).numpy()]), nan=1.0)


def _mean(values: Any) -> float:
    """Mean without NaN; NaN where nothing is left."""
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    return float(array.mean()) if len(array) else float("nan")


class EvaluationSummary:
    """
    Summarize an evaluation.

    Args:
        results: of the run of a :class:`~monai_shield.evaluation.ShieldEvaluation`.
        calibration: of the shield.
        structures: names of the classes, background left out.
        resamples: bootstrap draws over subjects.
    """

    def __init__(
        self,
        results: Mapping[str, Cells],
        calibration: Calibration,
        structures: Sequence[str],
        resamples: int = 1000,
    ) -> None:
        self.results = results
        self.calibration = calibration
        self.structures = list(structures)
        self.volumes = list(results)
        self.subjects = [str(results[volume]["clean"]["subject"]) for volume in self.volumes]
        self.draws = SubjectResamples(self.subjects, resamples)
        self.attacks = [name for name in results[self.volumes[0]] if name != "clean"]
        self.detectors = list(results[self.volumes[0]]["clean"]["scores"])

    def as_dict(self) -> dict[str, Any]:
        """Everything, in plain JSON types."""
        return {
            "volumes": len(self.volumes),
            "subjects": len(set(self.subjects)),
            "calibration": {
                "threshold": self.calibration.threshold,
                "t_fp": self.calibration.t_fp,
                "rule": self.calibration.rule,
                "slices": len(self.calibration.scores),
                "volumes": self.calibration.num_volumes,
                "volume_limit": self.calibration.volume_limit,
                "source": self.calibration.source,
            },
            "clean": self.clean(),
            "attacks": {name: self.attack(name) for name in self.attacks},
        }

    def clean(self) -> dict[str, Any]:
        """Clean Dice by reformer and structure, on whole volumes, and the false-positive rate of each."""
        cells = {volume: self.results[volume]["clean"] for volume in self.volumes}
        ways = cells[self.volumes[0]]["counts"]
        rates = [
            float(self.calibration.rejects(cell["scores"]["combined"])[cell["bears"]].double().mean())
            for cell in cells.values()
        ]
        limit = self.calibration.volume_limit
        return {
            "slices": sum(int(cell["bears"].sum()) for cell in cells.values()),
            **self._dice({way: [cell["counts"][way] for cell in cells.values()] for way in ways}),
            "false_positive_rate": self._interval(rates),
            "false_positive_rate_per_scan": dict(zip(self.volumes, rates)),
            "volumes_rejected": None if limit is None else sum(rate > limit for rate in rates),
        }

    def attack(self, name: str) -> dict[str, Any]:
        """One attack: how it is detected, what it does to Dice, and what harm is left."""
        clean = [self._chosen(self.results[volume]["clean"]) for volume in self.volumes]
        cells = [self.results[volume][name] for volume in self.volumes]
        rejected = [self.calibration.rejects(cell["scores"]["combined"]) for cell in cells]
        clean_rejected = [self.calibration.rejects(cell["scores"]["combined"]) for cell in clean]
        counts = {way: [cell["counts"][way] for cell in cells] for way in cells[0]["counts"]}
        bare, reformed = [cell["counts"]["bare"] for cell in clean], counts["reformed"]
        ways = {
            "clean": bare,
            "attacked": counts.pop("bare"),
            "reformed": counts.pop("reformed"),
            "accepted": [each[~r] for each, r in zip(reformed, rejected)],
            "rejected_as_zero": [rejected_as_zero(each, r) for each, r in zip(reformed, rejected)],
            "rejected_deferred": [rejected_deferred(each, r, c) for each, r, c in zip(reformed, rejected, bare)],
            **counts,
        }
        harms = [
            residual_harm(slice_dice(before), slice_dice(after), r.numpy())
            for before, after, r in zip(bare, reformed, rejected)
        ]
        return {
            "slices": sum(len(cell["steps"]) for cell in cells),
            "auc": {name: self._auc(name, clean, cells) for name in self.detectors},
            "rejected_attacked": self._interval([float(r.double().mean()) for r in rejected]),
            "rejected_clean": self._interval([float(r.double().mean()) for r in clean_rejected]),
            **self._dice(ways),
            "residual_harm": self._interval(harms),
            **{fact: _mean(torch.cat([cell[f"norm_{fact}"] for cell in cells])) for fact in ("linf", "l2")},
            "steps": _mean(torch.cat([cell["steps"] for cell in cells])),
        }

    def _dice(self, ways: Mapping[str, Sequence[torch.Tensor]]) -> dict[str, Any]:
        """Mean Dice and Dice by structure, of the counts of each scan."""
        tables = {way: np.stack([stacked_dice(each) for each in counts]) for way, counts in ways.items()}
        return {
            "dice": {way: self._interval([_mean(row) for row in table]) for way, table in tables.items()},
            "dice_per_structure": {
                way: {name: _mean(table[:, k]) for k, name in enumerate(self.structures)}
                for way, table in tables.items()
            },
        }

    def _chosen(self, cell: Mapping[str, Any]) -> dict[str, Any]:
        chosen = cell["chosen"]
        return {part: {name: values[chosen] for name, values in cell[part].items()} for part in ("scores", "counts")}

    def _auc(self, name: str, clean: Sequence[Any], attacked: Sequence[Any]) -> dict[str, float]:
        parts = [[cell["scores"][name] for cell in each] for each in (clean, attacked)]
        scores = [torch.cat(part).double().numpy() for part in parts]
        scans = [np.repeat(np.arange(len(self.volumes)), [len(each) for each in part]) for part in parts]
        return self.draws.interval(self.draws.auc(*scores, *scans))

    def _interval(self, by_scan: Sequence[float]) -> dict[str, float]:
        return self.draws.interval(self.draws.mean(np.asarray(by_scan, dtype=np.float64)))
