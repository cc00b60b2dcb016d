# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""How strong the attacks themselves are, on a bare network: the sanity of every number a defense is given."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from tqdm import tqdm

from monai_shield.attacks import Attack
from monai_shield.evaluation.cells import CellStore
from monai_shield.evaluation.summary import stacked_dice
from monai_shield.evaluation.tables import markdown_table, number
from monai_shield.evaluation.volume import AttackedVolume, file_sums, preprocessed_sums, subject_of
from monai_shield.fingerprints import fingerprint_of
from monai_shield.metrics import overlap_counts, subject_bootstrap
from monai_shield.networks.heads import class_logits
from monai_shield.transforms import DEFAULT_FOREGROUND, Foreground

Cell = dict[str, Any]
SUCCESS = 0.01
"""An attack succeeded on an image when no more than this share of its structure pixels is as before."""


class AttackStudy:
    """
    Attack slices of every volume and count what of the network's own clean prediction is left.

    The attacked pixels are those of the structures that the network predicts on the clean slice, so that before any
    attack none of them is fooled, and a network that is wrong is not counted as attacked. Dice is that with the true
    label, over the stacked slices. Each attack on a volume is a cell, written when it is done: a run that was killed
    goes on, and a cell is made again only when something it depends on has changed.

    An image is attacked away from the network's own clean prediction, and what success is is counted here in the same
    way for every attack, whatever its own criterion.

    Args:
        datalist: one dictionary a volume: "image", "label", "id", "subject".
        preprocessing: from file to network, of "image" and "label".
        network: the network that is attacked.
        attacks: name to attack.
        exported: names of the attacks that are measured after a way through the file too.
        num_classes: number of classes of the network.
        slices_per_volume: number of attacked slices a volume, evenly spaced.
        axis: spatial axis to slice along.
        min_foreground: a slice with no larger share of foreground is not attacked.
        foreground: which pixels are foreground and attacked.
        output_dir: where cells go.
        settings: anything else the result depends on, such as the sum of the weights.
        device: where to compute.

    Raises:
        ValueError: when a setting is out of its range or names an unknown attack.
    """

    def __init__(
        self,
        datalist: Sequence[Mapping[str, Any]],
        preprocessing: Compose,
        network: torch.nn.Module,
        attacks: Mapping[str, Attack],
        exported: Sequence[str],
        num_classes: int,
        slices_per_volume: int,
        output_dir: str | Path,
        axis: int = 1,
        min_foreground: float = 0.02,
        foreground: Foreground = DEFAULT_FOREGROUND,
        settings: Any = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if slices_per_volume < 1:
            raise ValueError(f"slices_per_volume must be at least 1, got {slices_per_volume}.")
        unknown = set(exported) - set(attacks)
        if unknown:
            raise ValueError(f"exported names unknown attacks: {', '.join(sorted(unknown))}.")
        self.datalist = list(datalist)
        self.preprocessing = preprocessing
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.attacks = dict(attacks)
        self.exported = frozenset(exported)
        self.num_classes = num_classes
        self.slices_per_volume = slices_per_volume
        self.axis = axis
        self.min_foreground = min_foreground
        self.foreground = foreground
        self.output_dir = Path(output_dir)
        self.settings = settings
        self.cells = CellStore(self.output_dir / "cells")

    def run(self) -> dict[str, dict[str, Cell]]:
        """
        Every cell, by volume and then by "clean", "attack" or "attack, exported".

        Raises:
            ValueError: when the network finds nothing that could be attacked.
        """
        results: dict[str, dict[str, Cell]] = {str(item["id"]): {} for item in self.datalist}
        volumes = {
            str(item["id"]): AttackedVolume(
                item, self.preprocessing, self.axis, self.min_foreground, self.slices_per_volume, self.foreground
            )
            for item in self.datalist
        }
        # attack by attack, so that a table of the first is whole before the last has begun
        with tqdm(total=len(volumes) * (1 + len(self.attacks)), desc="attacking", unit="cell") as bar:
            for name in (None, *self.attacks):
                for identity, volume in volumes.items():
                    bar.set_postfix_str(f"{identity}: {name or 'clean'}")
                    make = partial(self._clean, volume) if name is None else partial(self._attacked, volume, name)
                    fingerprint = self._fingerprint(name, volume)
                    results[identity] |= self.cells.get(identity, name or "clean", fingerprint, make)
                    bar.update()
                if name is None and not any(int(cells["clean"]["counts"][..., 1].sum()) for cells in results.values()):
                    raise ValueError("the network finds no structure in any slice: there is nothing to attack.")
        return results

    def summary(self, results: Mapping[str, Mapping[str, Cell]], resamples: int = 1000) -> dict[str, Any]:
        """What the cells say, in plain JSON types; 95 % intervals over subjects."""
        volumes = list(results)
        subjects = [results[volume]["clean"]["subject"] for volume in volumes]
        names = [name for name in results[volumes[0]] if name != "clean"]

        def dice(name: str) -> dict[str, float]:
            counts = torch.stack([results[volume][name]["counts"].sum(0) for volume in volumes])
            return _interval(lambda chosen: float(np.nanmean(stacked_dice(counts[chosen]))), subjects, resamples)

        attacks = {}
        for name in names:
            cells = [results[volume][name] for volume in volumes]
            bears = torch.cat([cell["attacked"] for cell in cells]).numpy() > 0
            owner = np.repeat(subjects, [len(cell["attacked"]) for cell in cells])[bears].tolist()
            left = torch.cat([cell["remaining"] for cell in cells]).numpy()[bears]
            attacks[name] = {
                "flipped": _interval(partial(_flipped, left), owner, resamples),
                "success": _interval(partial(_succeeded, left), owner, resamples),
                "dice": dice(name),
                **{
                    key: float(np.median(torch.cat([cell[key] for cell in cells]).numpy()))
                    for key in ("norm_linf", "norm_l2", "steps")
                },
                "seconds": sum(cell["seconds"] for cell in cells) / len(bears),
            }
        return {
            "volumes": len(volumes),
            "subjects": len(set(subjects)),
            "slices": sum(len(results[volume]["clean"]["counts"]) for volume in volumes),
            "clean": {"dice": dice("clean")},
            "attacks": attacks,
        }

    def _fingerprint(self, name: str | None, volume: AttackedVolume) -> str:
        attack = None if name is None else self.attacks[name]
        chosen = (self.slices_per_volume, self.axis, self.min_foreground, self.foreground, self.num_classes)
        scan = (file_sums(volume.item), self._preprocessed)
        return fingerprint_of((attack, name in self.exported, self.settings, *chosen, *scan))

    @cached_property
    def _preprocessed(self) -> list[str]:
        return preprocessed_sums(self.datalist[0], self.preprocessing)

    def _clean(self, volume: AttackedVolume) -> dict[str, Cell]:
        subject = subject_of(volume.item)
        prediction = self._predict(volume.slices[volume.chosen])
        return {"clean": {"subject": subject, "counts": self._counts(prediction, volume)}}

    def _attacked(self, volume: AttackedVolume, name: str) -> dict[str, Cell]:
        image = volume.slices[volume.chosen].contiguous()
        mask, clean = self.foreground(image)[:, None], self._predict(image)
        before = time.perf_counter()
        result = self.attacks[name](
            self.network,
            image.to(self.device),
            clean.to(self.device),
            mask.to(self.device),
            index=volume.chosen.tolist(),
        )
        seconds = time.perf_counter() - before
        facts = {key: getattr(result, key).cpu() for key in ("steps", "norm_linf", "norm_l2")} | {"seconds": seconds}
        structures = (clean > 0) & mask
        images = {name: result.image.cpu()}
        if name in self.exported:
            images[f"{name}, exported"] = volume.exported(images[name])
        cells = {}
        for each, adversarial in images.items():
            prediction = self._predict(adversarial)
            not_fooled = ((prediction == clean) & structures).flatten(1).sum(1).double()
            cells[each] = facts | {
                "attacked": structures.flatten(1).sum(1),
                "remaining": not_fooled / structures.flatten(1).sum(1).clamp(min=1),
                "counts": self._counts(prediction, volume),
            }
        return cells

    @torch.no_grad()
    def _predict(self, images: torch.Tensor) -> torch.Tensor:
        """Class of each pixel (S, 1, ., .)."""
        return class_logits(self.network(images.contiguous().to(self.device))).argmax(1, keepdim=True).cpu()

    def _counts(self, prediction: torch.Tensor, volume: AttackedVolume) -> torch.Tensor:
        return overlap_counts(prediction, volume.labels[volume.chosen], self.num_classes)


def attack_study_table(summary: Mapping[str, Any]) -> str:
    """One row an attack: structure pixels turned, images on which it succeeded, Dice left, with 95 % intervals."""
    header = ["attack", "pixels turned, %", "images, %", "Dice", "L∞, /255", "L2", "steps", "seconds an image"]
    clean = ["none", "0", "0", number(summary["clean"]["dice"], 2), "0", "0", "0", "0"]
    rows = [
        [
            name,
            number(row["flipped"], 1, 100),
            number(row["success"], 0, 100),
            number(row["dice"], 2),
            f"{255 * row['norm_linf']:.1f}",
            f"{row['norm_l2']:.2f}",
            f"{row['steps']:.0f}",
            f"{row['seconds']:.1f}",
        ]
        for name, row in summary["attacks"].items()
    ]
    return markdown_table(header, [clean, *rows])


def _flipped(left: np.ndarray, chosen: np.ndarray) -> float:
    return 1 - float(left[chosen].mean())


def _succeeded(left: np.ndarray, chosen: np.ndarray) -> float:
    return float((left[chosen] <= SUCCESS).mean())


def _interval(statistic: Callable[[np.ndarray], float], subjects: Sequence[str], resamples: int) -> dict[str, float]:
    low, high = subject_bootstrap(statistic, subjects, resamples)
    return {"value": statistic(np.arange(len(subjects))), "low": low, "high": high}
