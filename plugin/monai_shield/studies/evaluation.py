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
"""Attack a shielded bundle and measure what the shield is worth."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from tqdm import tqdm

from monai_shield.attacks import Attack
from monai_shield.data import body_share, evenly_spaced, slices_of
from monai_shield.detectors import CombinedDetector, Detector, Views
from monai_shield.inferers import ShieldInferer
from monai_shield.metrics import overlap_counts
from monai_shield.transforms import PreprocessedFile, export_attack
from monai_shield.utils import atomic_path

__all__ = ["ShieldEvaluation"]

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
        datalist: one dictionary a volume: "image", "label", "id", "person".
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
        self.settings = settings

    def run(self) -> dict[str, dict[str, Cell]]:
        """Every cell, by volume and then by "clean" or "attack, variant"."""
        total = len(self.datalist) * (1 + len(self.attacks))
        results: dict[str, dict[str, Cell]] = {}
        with tqdm(total=total, desc="evaluating", unit="cell") as bar:
            for item in self.datalist:
                bar.set_postfix_str(f"{item['id']}: clean")
                volume = _Volume(item, self.preprocessing, self.shield, self.slices_per_volume)
                cells = {"clean": self._cached(volume, "clean", partial(self._clean_cells, volume))["clean"]}
                bar.update()
                for name in self.attacks:
                    bar.set_postfix_str(f"{item['id']}: {name}")
                    made = self._cached(volume, name, partial(self._attacked, volume, name))
                    cells |= {f"{name}, {variant}": cell for variant, cell in made.items()}
                    bar.update()
                results[str(item["id"])] = cells
        return results

    def _cached(self, volume: _Volume, name: str, make: Callable[[], dict[str, Cell]]) -> dict[str, Cell]:
        path = self.output_dir / "cells" / str(volume.item["id"]) / f"{_file_name(name)}.pt"
        fingerprint = self._fingerprint(name)
        if path.is_file():
            saved = torch.load(path, weights_only=True)
            if saved["fingerprint"] == fingerprint:
                return saved["cells"]
        cells = make()
        with atomic_path(path) as temporary:
            torch.save({"fingerprint": fingerprint, "cells": cells}, temporary)
        return cells

    def _fingerprint(self, name: str) -> str:
        parts = [
            repr(self.attacks.get(name)),
            repr(self.variants.get(name)),
            repr(self.baselines),
            repr(self.filters),
            repr(self.settings),
            str(self.slices_per_volume),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _clean_cells(self, volume: _Volume) -> dict[str, Cell]:
        cell = self._measure(volume.slices, volume.labels)
        bears = body_share(volume.slices) > self.shield.min_body
        person = str(volume.item.get("person", volume.item["id"]))
        return {"clean": {"person": person, "bears": bears, "chosen": volume.chosen} | cell}

    def _attacked(self, volume: _Volume, name: str) -> dict[str, Cell]:
        chosen = volume.chosen
        clean, label = volume.slices[chosen], volume.labels[chosen]
        results = [
            self.attacks[name](
                self.network, x.to(self.device), y.to(self.device), (x > 0).to(self.device), index=i.tolist()
            )
            for x, y, i in zip(*(part.split(self.shield.batch_size) for part in (clean, label, chosen)))
        ]
        attacked = torch.cat([result.image.cpu() for result in results]).as_subclass(torch.Tensor)
        facts = {
            key: torch.cat([getattr(result, key).cpu() for result in results])
            for key in ("steps", "success", "norm_linf", "norm_l2")
        }
        cells = {}
        for variant in self.variants[name]:
            images = attacked if variant == "raw" else self._exported(volume, attacked)
            cells[variant] = facts | self._measure(images, label)
        return cells

    def _exported(self, volume: _Volume, attacked: torch.Tensor) -> torch.Tensor:
        perturbation = torch.zeros_like(volume.image.as_tensor())
        slices_of(perturbation, volume.axis)[volume.chosen] = attacked - volume.slices[volume.chosen]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "attacked.nii"
            export_attack(perturbation, volume.file, file)
            again = self.preprocessing({**volume.item, "image": str(file)})["image"]
        return slices_of(again.as_tensor(), volume.axis)[volume.chosen]

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
                found = overlap_counts(logits.argmax(dim=1, keepdim=True), y, self.num_classes)
                counts.setdefault(name, []).append(found.cpu())
        return {
            "scores": {name: torch.cat(parts) for name, parts in scores.items()},
            "counts": {name: torch.cat(parts) for name, parts in counts.items()},
        }

    def _scores(self, views: Views) -> dict[str, torch.Tensor]:
        detector = self.shield.detector
        if isinstance(detector, CombinedDetector):
            single = detector.single_scores(views)
            scores = detector.standardized(single, views.body_share)
            scores["combined"] = detector.combine(single, views.body_share)
        else:
            scores = {"combined": detector(views)}
        return scores | {name: baseline(views) for name, baseline in self.baselines.items()}


class _Volume:
    """A preprocessed volume and the slices that are attacked; loaded when first asked for, not where all is cached."""

    def __init__(self, item: Mapping[str, Any], preprocessing: Compose, shield: ShieldInferer, number: int) -> None:
        self.item = item
        self.preprocessing = preprocessing
        self.axis = shield.slice_axis or 0
        self.min_body = shield.min_body
        self.number = number

    @cached_property
    def data(self) -> Mapping[str, MetaTensor]:
        data = self.preprocessing(dict(self.item))
        if not bool((data["label"] > 0).any()):
            raise ValueError(
                f"'{self.item['label']}': no structure of the label map occurs: is it that of this data set?"
            )
        return data

    @cached_property
    def file(self) -> PreprocessedFile:
        return PreprocessedFile(self.item, self.preprocessing)

    @property
    def image(self) -> MetaTensor:
        return self.data["image"]

    @cached_property
    def slices(self) -> torch.Tensor:
        return slices_of(self.image.as_tensor(), self.axis)

    @cached_property
    def labels(self) -> torch.Tensor:
        return slices_of(self.data["label"].as_tensor(), self.axis)

    @cached_property
    def chosen(self) -> torch.Tensor:
        """Indices of evenly spaced slices, neither the first nor the last that bears body."""
        bearing = torch.nonzero(body_share(self.slices) > self.min_body)[:, 0]
        return evenly_spaced(bearing, self.number)


def _file_name(name: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in name)
