# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Attack a shielded bundle and measure what the shield is worth."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Compose
from tqdm import tqdm

from monai_shield.attacks import Attack
from monai_shield.detectors import Detector, Views
from monai_shield.evaluation.cells import CellStore
from monai_shield.evaluation.volume import AttackedVolume, file_sums, preprocessed_sums, subject_of
from monai_shield.fingerprints import fingerprint_of
from monai_shield.inferers import ShieldInferer
from monai_shield.metrics import overlap_counts
from monai_shield.networks.heads import class_logits

logger = logging.getLogger(__name__)
Cell = dict[str, Any]


class ShieldEvaluation:
    """
    Clean and attacked slices of every volume through the bare target, the detectors and the reformers.

    Each volume's clean result and each attack on it is a cell, written when it is done: a run that was killed goes on,
    and a cell is made again only when something it depends on has changed. Attacks are crafted on single slices of the
    preprocessed volume with the true label; an *exported* one is written to a NIfTI file of the clean file's type, with
    the background restored, and read back through the whole preprocessing, which measures its window anew.

    Args:
        datalist: one dictionary a volume: "image", "label", "id", "subject".
        preprocessing: from file to network, of "image" and "label".
        network: the target.
        shield: detector, reformer and slice axis.
        attacks: name to attack.
        variants: name of an attack to "raw", "exported" or both; both where it is not named.
        baselines: name to detector that needs no training.
        filters: name to reformer that needs no training.
        num_classes: number of classes of the target.
        slices_per_volume: number of attacked slices a volume, evenly spaced.
        output_dir: where cells go.
        settings: anything else the result depends on, such as the sums of the weights.
        device: where to compute.
    """

    def __init__(
        self,
        datalist: Sequence[Mapping[str, Any]],
        preprocessing: Compose,
        network: torch.nn.Module,
        shield: ShieldInferer,
        attacks: Mapping[str, Attack],
        variants: Mapping[str, Sequence[str]],
        baselines: Mapping[str, Detector],
        filters: Mapping[str, torch.nn.Module],
        num_classes: int,
        slices_per_volume: int,
        output_dir: str | Path,
        settings: Any = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if slices_per_volume < 1:
            raise ValueError(f"slices_per_volume must be at least 1, got {slices_per_volume}.")
        unknown = set(variants) - set(attacks)
        if unknown:
            raise ValueError(f"variants name unknown attacks: {', '.join(sorted(unknown))}.")
        self.datalist = list(datalist)
        self.preprocessing = preprocessing
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.shield = shield
        self.attacks = dict(attacks)
        self.variants = {name: tuple(variants.get(name, ("raw", "exported"))) for name in attacks}
        self.baselines = dict(baselines)
        self.filters = {name: module.to(self.device) for name, module in filters.items()}
        self.num_classes = num_classes
        self.slices_per_volume = slices_per_volume
        self.output_dir = Path(output_dir)
        self.cells = CellStore(self.output_dir / "cells")
        self.settings = settings

    def run(self) -> dict[str, dict[str, Cell]]:
        """Every cell, by volume and then by "clean" or "attack, variant"."""
        total = len(self.datalist) * (1 + len(self.attacks))
        results: dict[str, dict[str, Cell]] = {}
        with tqdm(total=total, desc="evaluating", unit="cell") as bar:
            for item in self.datalist:
                bar.set_postfix_str(f"{item['id']}: clean")
                volume = AttackedVolume(
                    item,
                    self.preprocessing,
                    self.shield.slice_axis or 0,
                    self.shield.min_foreground,
                    self.slices_per_volume,
                    self.shield.foreground,
                )
                cells = {"clean": self._cached(volume, "clean", partial(self._clean_cells, volume))["clean"]}
                bar.update()
                for name in self.attacks:
                    bar.set_postfix_str(f"{item['id']}: {name}")
                    made = self._cached(volume, name, partial(self._attacked, volume, name))
                    cells |= {f"{name}, {variant}": cell for variant, cell in made.items()}
                    bar.update()
                results[str(item["id"])] = cells
        return results

    def _cached(self, volume: AttackedVolume, name: str, make: Callable[[], dict[str, Cell]]) -> dict[str, Cell]:
        depends_on = (
            self.attacks.get(name),
            self.variants.get(name),
            self.baselines,
            self.filters,
            self.settings,
            self.num_classes,
            self.slices_per_volume,
            volume.axis,
            volume.min_foreground,
            volume.foreground,
            file_sums(volume.item),
            self._preprocessed,
        )
        return self.cells.get(str(volume.item["id"]), name, fingerprint_of(depends_on), make)

    @cached_property
    def _preprocessed(self) -> list[str]:
        return preprocessed_sums(self.datalist[0], self.preprocessing)

    def _clean_cells(self, volume: AttackedVolume) -> dict[str, Cell]:
        cell = self._measure(volume.slices, volume.labels)
        bears = volume.foreground.share(volume.slices) > self.shield.min_foreground
        return {"clean": {"subject": subject_of(volume.item), "bears": bears, "chosen": volume.chosen} | cell}

    def _attacked(self, volume: AttackedVolume, name: str) -> dict[str, Cell]:
        chosen = volume.chosen
        clean, label = volume.slices[chosen], volume.labels[chosen]
        mask = volume.foreground(clean)
        results = [
            self.attacks[name](self.network, x.to(self.device), y.to(self.device), m.to(self.device), index=i.tolist())
            for x, y, m, i in zip(*(part.split(self.shield.batch_size) for part in (clean, label, mask, chosen)))
        ]
        attacked = torch.cat([result.image.cpu() for result in results]).as_subclass(torch.Tensor)
        facts = {
            key: torch.cat([getattr(result, key).cpu() for result in results])
            for key in ("steps", "success", "norm_linf", "norm_l2")
        }
        cells = {}
        for variant in self.variants[name]:
            images = attacked if variant == "raw" else volume.exported(attacked)
            cells[variant] = facts | self._measure(images, label)
        return cells

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
