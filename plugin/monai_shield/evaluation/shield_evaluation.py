# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Attack a shielded bundle and measure what the shield is worth."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from monai_shield.detectors import Detector, Views
from monai_shield.evaluation.slice_evaluation import AttackedNetwork, Cell, SliceEvaluation
from monai_shield.evaluation.summary import EvaluationSummary
from monai_shield.evaluation.tables import evaluation_tables
from monai_shield.evaluation.volume import AttackedVolume, Slicing, subject_of
from monai_shield.inferers import ShieldInferer
from monai_shield.metrics import overlap_counts
from monai_shield.networks.heads import class_logits


class ShieldEvaluation(SliceEvaluation):
    """
    Clean and attacked slices of every scan through the bare target, the detectors and the reformers.

    Attacks are made on single slices of the preprocessed scan, with the true label. An *exported* attack is written to
    a NIfTI file of the clean file's type, with the background restored, and read back through the whole preprocessing,
    which measures its window anew.

    Args:
        attacked: the target, the attacks and the scans.
        shield: detector, reformer and how scans become slices.
        variants: name of an attack to "raw", "exported" or both; both where it is not named.
        baselines: name to a detector that is measured as well.
        filters: name to a reformer that is measured as well.

    Raises:
        ValueError: when an attack is not known.
    """

    def __init__(
        self,
        attacked: AttackedNetwork,
        shield: ShieldInferer,
        variants: Mapping[str, Sequence[str]],
        baselines: Mapping[str, Detector],
        filters: Mapping[str, torch.nn.Module],
    ) -> None:
        slicing = Slicing(shield.slice_axis or 0, shield.min_foreground, shield.foreground)
        super().__init__(attacked, slicing, list(variants))
        self.shield = shield
        self.variants = {name: tuple(variants.get(name, ("raw", "exported"))) for name in attacked.attacks}
        self.baselines = dict(baselines)
        self.filters = {name: module.to(self.device) for name, module in filters.items()}

    def depends_on(self, name: str) -> tuple[object, ...]:
        return (self.variants.get(name), self.baselines, self.filters)

    def clean_cell(self, volume: AttackedVolume) -> dict[str, Cell]:
        bears, chosen = self.slicing.bears(volume.slices), volume.chosen
        about = {"subject": subject_of(volume.item), "bears": bears, "chosen": chosen}
        return {"clean": about | self._measure(volume.slices, volume.labels)}

    def attacked_cells(self, volume: AttackedVolume, name: str) -> dict[str, Cell]:
        label = volume.labels[volume.chosen]
        images, facts = self.attack(name, volume, label, self.shield.batch_size)
        cells = {}
        for variant in self.variants[name]:
            adversarial = images if variant == "raw" else volume.exported(images)
            cells[f"{name}, {variant}"] = facts | self._measure(adversarial, label)
        return cells

    def summary(self, results: Mapping[str, Mapping[str, Cell]]) -> dict[str, Any]:
        structures = list(self.attacked.structures)
        return EvaluationSummary(results, self.shield.detector.calibrated(), structures).as_dict()

    def tables(self, summary: Mapping[str, Any]) -> str:
        return evaluation_tables(summary)

    @torch.no_grad()
    def _measure(self, images: torch.Tensor, labels: torch.Tensor) -> Cell:
        """Scores by detector, (S,), and overlap counts by reformer ("bare" is none), (S, K, 3)."""
        scores: dict[str, list[torch.Tensor]] = {}
        counts: dict[str, list[torch.Tensor]] = {}
        for x, y in zip(images.split(self.shield.batch_size), labels.split(self.shield.batch_size)):
            x, y = x.contiguous().to(self.device), y.to(self.device)
            views = self.shield.views(x, self.network)
            for name, score in self._scores(views).items():
                scores.setdefault(name, []).append(score.cpu())
            predictions = {"bare": views.prediction, "reformed": views.reformed_prediction}
            predictions |= {name: views.prediction_under(module) for name, module in self.filters.items()}
            for name, logits in predictions.items():
                label = class_logits(logits, self.shield.head).argmax(dim=1, keepdim=True)
                found = overlap_counts(label, y, self.num_classes)
                counts.setdefault(name, []).append(found.cpu())
        return {
            "scores": {name: torch.cat(parts) for name, parts in scores.items()},
            "counts": {name: torch.cat(parts) for name, parts in counts.items()},
        }

    def _scores(self, views: Views) -> dict[str, torch.Tensor]:
        score, parts = self.shield.detector.score_with_parts(views)
        return parts | {"combined": score} | {name: baseline(views) for name, baseline in self.baselines.items()}
