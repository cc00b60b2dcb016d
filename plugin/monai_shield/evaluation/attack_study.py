# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""How strong the attacks are on a bare network."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from monai_shield.evaluation.attack_study_summary import attack_study_summary, attack_study_table
from monai_shield.evaluation.slice_evaluation import AttackedNetwork, Cell, SliceEvaluation
from monai_shield.evaluation.volume import AttackedVolume, Slicing, subject_of
from monai_shield.metrics import overlap_counts
from monai_shield.networks.heads import class_logits


class AttackStudy(SliceEvaluation):
    """
    Attack slices of every scan and count what is left of the network's own clean prediction.

    Every attack leads away from the network's clean prediction, and its success is counted in the same way, whatever
    its own criterion. The attacked pixels are those of the structures that the network predicts on the clean slice. So
    an error of the network is not counted as an attack. Dice is that with the true label, over the stacked slices.

    Args:
        attacked: the network, the attacks and the scans.
        exported: names of the attacks that are measured a second time after a way through the file.
        slicing: how scans become slices.

    Raises:
        ValueError: when an attack is not known; in the run, when the network finds nothing that could be attacked.
    """

    def __init__(
        self,
        attacked: AttackedNetwork,
        exported: Sequence[str] = (),
        slicing: Slicing = Slicing(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(attacked, slicing, exported)
        self.exported = frozenset(exported)

    def depends_on(self, name: str) -> tuple[object, ...]:
        return (name in self.exported,)

    def check(self, clean: Mapping[str, Cell]) -> None:
        super().check(clean)
        if not any(int(cell["counts"][..., 1].sum()) for cell in clean.values()):
            raise ValueError("the network finds no structure in any slice: there is nothing to attack.")

    def clean_cell(self, volume: AttackedVolume) -> dict[str, Cell]:
        prediction = self._predict(volume.slices[volume.chosen])
        return {"clean": {"subject": subject_of(volume.item), "counts": self._counts(prediction, volume)}}

    def attacked_cells(self, volume: AttackedVolume, name: str) -> dict[str, Cell]:
        image = volume.slices[volume.chosen]
        clean = self._predict(image)
        before = time.perf_counter()
        images, facts = self.attack(name, volume, clean, batch_size=len(image))
        facts["seconds"] = time.perf_counter() - before
        structures = (clean > 0) & self.slicing.foreground(image)[:, None]
        total = structures.flatten(1).sum(1)
        variants = {name: images}
        if name in self.exported:
            variants[f"{name}, exported"] = volume.exported(images)
        cells = {}
        for variant, adversarial in variants.items():
            prediction = self._predict(adversarial)
            not_fooled = ((prediction == clean) & structures).flatten(1).sum(1).double()
            counts = {"attacked": total, "remaining": not_fooled / total.clamp(min=1)}
            cells[variant] = facts | counts | {"counts": self._counts(prediction, volume)}
        return cells

    def summary(self, results: Mapping[str, Mapping[str, Cell]]) -> dict[str, Any]:
        return attack_study_summary(results)

    def tables(self, summary: Mapping[str, Any]) -> str:
        return attack_study_table(summary)

    @torch.no_grad()
    def _predict(self, images: torch.Tensor) -> torch.Tensor:
        """Class of each pixel (S, 1, ., .)."""
        return class_logits(self.network(images.contiguous().to(self.device))).argmax(1, keepdim=True).cpu()

    def _counts(self, prediction: torch.Tensor, volume: AttackedVolume) -> torch.Tensor:
        return overlap_counts(prediction, volume.labels[volume.chosen], self.num_classes)
