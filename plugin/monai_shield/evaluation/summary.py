# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""From the cells of an evaluation to the numbers that subjects read."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from monai_shield.detectors import Calibration
from monai_shield.metrics import SubjectResamples, dice_of_counts, residual_harm

Cells = Mapping[str, Mapping[str, Any]]
Change = Callable[[torch.Tensor, int], torch.Tensor]


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
        results: what :meth:`ShieldEvaluation.run` returned.
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
        tables = {
            way: np.stack([stacked_dice(cell["counts"][way]) for cell in cells.values()])
            for way in cells[self.volumes[0]]["counts"]
        }
        rates = [
            float(self.calibration.rejects(cell["scores"]["combined"])[cell["bears"]].double().mean())
            for cell in cells.values()
        ]
        limit = self.calibration.volume_limit
        return {
            "slices": sum(int(cell["bears"].sum()) for cell in cells.values()),
            "dice": {way: self._with_interval([_mean(row) for row in table]) for way, table in tables.items()},
            "dice_per_structure": self._per_structure(tables),
            "false_positive_rate": self._with_interval(rates),
            "false_positive_rate_per_scan": dict(zip(self.volumes, rates)),
            "volumes_rejected": None if limit is None else sum(rate > limit for rate in rates),
        }

    def attack(self, name: str) -> dict[str, Any]:
        """One attack: how it is detected, what it does to Dice, and what harm is left."""
        clean = [self._chosen(self.results[volume]["clean"]) for volume in self.volumes]
        cells = [self.results[volume][name] for volume in self.volumes]
        rejected = [self.calibration.rejects(cell["scores"]["combined"]) for cell in cells]
        clean_rejected = [self.calibration.rejects(cell["scores"]["combined"]) for cell in clean]

        def counts(way: str, of: Sequence[Any], change: Change | None = None) -> list[torch.Tensor]:
            found = [cell["counts"][way] for cell in of]
            return found if change is None else [change(each, i) for i, each in enumerate(found)]

        def accepted(counts: torch.Tensor, i: int) -> torch.Tensor:
            return counts[~rejected[i]]

        def emptied(counts: torch.Tensor, i: int) -> torch.Tensor:
            kept = counts.clone()
            kept[rejected[i], :, :2] = 0
            return kept

        def deferred(counts: torch.Tensor, i: int) -> torch.Tensor:
            return torch.where(rejected[i][:, None, None], clean[i]["counts"]["bare"], counts)

        ways = {
            "clean": counts("bare", clean),
            "attacked": counts("bare", cells),
            "reformed": counts("reformed", cells),
            "accepted": counts("reformed", cells, accepted),
            "rejected_as_zero": counts("reformed", cells, emptied),
            "rejected_deferred": counts("reformed", cells, deferred),
            **{way: counts(way, cells) for way in cells[0]["counts"] if way not in ("bare", "reformed")},
        }
        tables = {way: np.stack([stacked_dice(each) for each in found]) for way, found in ways.items()}
        aucs = {
            detector: self._auc(
                [cell["scores"][detector] for cell in clean], [cell["scores"][detector] for cell in cells]
            )
            for detector in self.detectors
        }
        return {
            "slices": sum(len(cell["steps"]) for cell in cells),
            "auc": aucs,
            "rejected_attacked": self._rate(rejected),
            "rejected_clean": self._rate(clean_rejected),
            "dice": {way: self._with_interval([_mean(row) for row in table]) for way, table in tables.items()},
            "dice_per_structure": self._per_structure(tables),
            "residual_harm": self._harm(clean, cells, rejected),
            **{fact: _mean(torch.cat([cell[f"norm_{fact}"] for cell in cells])) for fact in ("linf", "l2")},
            "steps": _mean(torch.cat([cell["steps"] for cell in cells])),
        }

    def _per_structure(self, tables: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
        return {
            way: {name: _mean(table[:, k]) for k, name in enumerate(self.structures)} for way, table in tables.items()
        }

    def _chosen(self, cell: Mapping[str, Any]) -> dict[str, Any]:
        chosen = cell["chosen"]
        return {part: {name: values[chosen] for name, values in cell[part].items()} for part in ("scores", "counts")}

    def _auc(self, clean: list[torch.Tensor], attacked: list[torch.Tensor]) -> dict[str, float]:
        first, second = (torch.cat(scores).double().numpy() for scores in (clean, attacked))
        scans, others = (np.repeat(np.arange(len(self.volumes)), [len(s) for s in each]) for each in (clean, attacked))
        return self.draws.interval(self.draws.auc(first, second, scans, others))

    def _harm(self, clean: Any, cells: Any, rejected: list[torch.Tensor]) -> dict[str, float]:
        harms = [
            residual_harm(slice_dice(c["counts"]["bare"]), slice_dice(a["counts"]["reformed"]), r.numpy())
            for c, a, r in zip(clean, cells, rejected)
        ]
        return self._with_interval(harms)

    def _rate(self, rejected: list[torch.Tensor]) -> dict[str, float]:
        return self._with_interval([float(r.double().mean()) for r in rejected])

    def _with_interval(self, per_volume: Sequence[float]) -> dict[str, float]:
        return self.draws.interval(self.draws.mean(np.asarray(per_volume, dtype=np.float64)))
