# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What every evaluation of attacks on slices does: scans, cells, the loop over attacks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Compose
from tqdm import tqdm

from monai_shield.attacks import Attack
from monai_shield.evaluation.cells import CellStore
from monai_shield.evaluation.volume import AttackedVolume, Slicing, file_sums, preprocessed_sums
from monai_shield.fingerprints import fingerprint_of

Cell = dict[str, Any]


@dataclass(frozen=True)
class AttackedNetwork:
    """
    The network that an evaluation attacks, on which scans and how, and where the results go.

    Args:
        network: the network, also called target.
        attacks: name to attack.
        datalist: one dictionary a labeled scan: "image", "label", "id", "subject".
        preprocessing: from file to network, of "image" and "label".
        structures: names of the classes, background left out; a label map has them as its keys.
        slices_per_volume: number of attacked slices of a scan, evenly spaced.
        output_dir: where cells and results go.
        settings: anything else the results depend on, such as the sums of the weights.
        device: where to compute.

    Raises:
        ValueError: when no slice is attacked.
    """

    network: torch.nn.Module
    attacks: Mapping[str, Attack]
    datalist: Sequence[Mapping[str, Any]]
    preprocessing: Compose
    structures: Sequence[str] | Mapping[str, Any]
    slices_per_volume: int
    output_dir: str | Path
    settings: Any = None
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        if self.slices_per_volume < 1:
            raise ValueError(f"slices_per_volume must be at least 1, got {self.slices_per_volume}.")
        self.network.to(self.device).eval()

    @cached_property
    def preprocessed(self) -> list[str]:
        """Sums of the first scan as preprocessed."""
        return preprocessed_sums(self.datalist[0], self.preprocessing)


class SliceEvaluation(ABC):
    """
    Attacks on slices of every scan. The clean result and each attack of a scan are a cell each.

    A cell is written when it is complete and computed again only when something it depends on has changed: a run that
    was killed goes on.

    Args:
        attacked: the network, the attacks and the scans.
        slicing: how scans become slices.
        variants: the attacks that are measured in several variants.

    Raises:
        ValueError: when these attacks are not known.
    """

    def __init__(self, attacked: AttackedNetwork, slicing: Slicing, variants: Sequence[str]) -> None:
        unknown = set(variants) - set(attacked.attacks)
        if unknown:
            raise ValueError(f"unknown attacks: {', '.join(sorted(unknown))}.")
        self.attacked, self.slicing = attacked, slicing
        self.network, self.device = attacked.network, torch.device(attacked.device)
        self.num_classes = len(attacked.structures) + 1
        self.output_dir = Path(attacked.output_dir)
        self.cells = CellStore(self.output_dir / "cells")

    def run(self) -> dict[str, dict[str, Cell]]:
        """Every cell, by the scan's "id" and then by "clean" or the attack and its variant."""
        attacked = self.attacked
        results: dict[str, dict[str, Cell]] = {str(item["id"]): {} for item in attacked.datalist}
        with tqdm(total=len(results) * (1 + len(attacked.attacks)), desc="evaluating", unit="cell") as bar:
            for names in (["clean"], list(attacked.attacks)):
                for item in attacked.datalist:
                    volume = AttackedVolume(item, attacked.preprocessing, self.slicing, attacked.slices_per_volume)
                    for name in names:
                        bar.set_postfix_str(f"{item['id']}: {name}")
                        results[str(item["id"])] |= self._cell(volume, name)
                        bar.update()
                self.check({identity: cells["clean"] for identity, cells in results.items()})
        return results

    def _cell(self, volume: AttackedVolume, name: str) -> dict[str, Cell]:
        attacked, attack = self.attacked, self.attacked.attacks.get(name)
        made = (attack, *self.depends_on(name), attacked.settings, self.slicing, self.num_classes)
        scan = (attacked.slices_per_volume, file_sums(volume.item), attacked.preprocessed)
        make = partial(self.clean_cell, volume) if attack is None else partial(self.attacked_cells, volume, name)
        return self.cells.get(str(volume.item["id"]), name, fingerprint_of((*made, *scan)), make)

    def attack(self, name: str, volume: AttackedVolume, label: torch.Tensor, batch_size: int) -> tuple[Any, Cell]:
        """
        Attack the chosen slices of a scan.

        Args:
            name: of the attack.
            volume: the scan.
            label: what the attack leads away from, (S, 1, ., .).
            batch_size: slices at a time.

        Returns:
            the adversarial slices, (S, 1, ., .), and "steps", "success", "norm_linf" and "norm_l2" of each, (S,).
        """
        clean = volume.slices[volume.chosen]
        parts = (clean, label, self.slicing.foreground(clean), volume.chosen)
        results = []
        for *inputs, index in zip(*(part.split(batch_size) for part in parts)):
            image, target, mask = (part.contiguous().to(self.device) for part in inputs)
            results.append(self.attacked.attacks[name](self.network, image, target, mask, index=index.tolist()))
        names = ("image", "steps", "success", "norm_linf", "norm_l2")
        found = {key: torch.cat([getattr(result, key).cpu() for result in results]) for key in names}
        return found.pop("image").as_subclass(torch.Tensor), found

    def check(self, clean: Mapping[str, Cell]) -> None:
        """
        Refuse clean results, by scan, on which no attack can be judged.

        Raises:
            ValueError: when there is no scan.
        """
        if not clean:
            raise ValueError("an evaluation needs a labeled scan.")

    @abstractmethod
    def depends_on(self, name: str) -> tuple[object, ...]:
        """What else the cell of an attack, or "clean", depends on."""

    @abstractmethod
    def clean_cell(self, volume: AttackedVolume) -> dict[str, Cell]:
        """The clean result of a scan, by "clean"."""

    @abstractmethod
    def attacked_cells(self, volume: AttackedVolume, name: str) -> dict[str, Cell]:
        """The results of an attack on a scan, by its name and variant."""

    @abstractmethod
    def summary(self, results: Mapping[str, Mapping[str, Cell]]) -> dict[str, Any]:
        """The numbers of a run, in plain JSON types; 95 % intervals over subjects."""

    @abstractmethod
    def tables(self, summary: Mapping[str, Any]) -> str:
        """The tables of these numbers."""
