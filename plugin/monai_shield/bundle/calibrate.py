# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Calibrate a shield on clean images: the ones it was made with, or a site's own."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from monai_shield.data import SliceDataset
from monai_shield.detectors import (
    Calibration,
    CombinedDetector,
    Detector,
    Plausibility,
    Views,
    number_of_classes,
    predicted_label,
    shield_record,
    subject_statistics,
)
from monai_shield.detectors.calibration import Rule
from monai_shield.networks.heads import Head, check_head

logger = logging.getLogger(__name__)


class ShieldCalibrator:
    """
    Fits the scale of a combined detector on clean training images and its threshold on clean validation images.

    Args:
        network: the target.
        detector: the detector to calibrate.
        reformer: the shield's reformer.
        device: where to compute.
        batch_size: images at once.
        head: what the target's channels stand for; None to read it, see :func:`~monai_shield.networks.head_of`.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        detector: Detector,
        reformer: torch.nn.Module | None,
        device: torch.device | str = "cpu",
        batch_size: int = 8,
        head: Head | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.detector = detector.to(self.device).eval()
        self.reformer = None if reformer is None else reformer.to(self.device).eval()
        self.batch_size = batch_size
        self.head = check_head(head)

    @torch.no_grad()
    def scores(self, dataset: SliceDataset) -> dict[str, torch.Tensor]:
        """
        The score of every slice, (n,); of a combined detector those of its parts by name, and "foreground", its share.

        Raises:
            ValueError: where there is no slice.
        """
        if len(dataset) == 0:
            raise ValueError("no slice to score: none of the volumes bears enough foreground.")
        found: dict[str, list[torch.Tensor]] = {}
        loader: DataLoader[Any] = DataLoader(dataset, self.batch_size)
        for batch in tqdm(loader, desc="scoring clean slices", unit="batch"):
            views = Views(batch["image"].to(self.device), self.network, self.reformer, dataset.foreground, self.head)
            if isinstance(self.detector, CombinedDetector):
                scores = self.detector.single_scores(views) | {"foreground": views.foreground_share}
            else:
                scores = {"score": self.detector(views)}
            for name, score in scores.items():
                found.setdefault(name, []).append(score.cpu())
        return {name: torch.cat(parts) for name, parts in found.items()}

    @torch.no_grad()
    def statistics(self, datasets: Sequence[SliceDataset]) -> dict[str, dict[str, float]]:
        """
        The statistics of the volumes with their labels as the shield answers them, by the volume's id.

        Of a dataset that keeps every n-th slice only these are segmented: sizes are shares, places are in mm. A volume
        that two datasets hold counts once; one that came as a plain tensor has no affine and is left out.
        """
        found: dict[str, dict[str, float]] = {}
        for dataset in datasets:
            for name, volume, meta in zip(dataset.ids, dataset.volumes, dataset.metas):
                if name in found or "affine" not in meta:
                    continue
                slices = volume[dataset.keys[0]][:: dataset.every]
                labels, num_classes = [], 2
                for batch in slices.split(self.batch_size):
                    views = Views(batch.to(self.device), self.network, self.reformer, dataset.foreground, self.head)
                    logits = views.reformed_prediction
                    labels += [predicted_label(one, self.head).cpu() for one in logits]
                    num_classes = number_of_classes(logits.shape[1], self.head)
                affine = meta["affine"].clone()
                affine[:, dataset.axis] *= dataset.every
                image, label = slices.movedim(0, dataset.axis + 1), torch.stack(labels, dim=dataset.axis)
                found[name] = subject_statistics(
                    image, label, num_classes, affine, meta.get("border"), dataset.foreground
                )
        return found

    def fit(self, dataset: SliceDataset) -> Detector:
        """Fit how the detectors are combined, on clean training slices; nothing to do for a single detector."""
        if isinstance(self.detector, CombinedDetector):
            scores = self._moved(self.scores(dataset))
            self.detector.fit(scores, scores["foreground"])
        return self.detector

    def _moved(self, scores: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: score.to(self.device) for name, score in scores.items()}

    def calibrate(
        self,
        dataset: SliceDataset,
        t_fp: float = 0.05,
        rule: Rule = "conformal",
        source: str = "",
        plausible: Sequence[SliceDataset] | None = None,
    ) -> Calibration:
        """
        Set the threshold, on clean validation slices; the volume limit too, and what is plausible.

        Args:
            dataset: clean validation slices.
            t_fp: allowed false-positive rate.
            rule: of the threshold.
            source: what it was calibrated on, in words.
            plausible: the volumes whose statistics say what is plausible, `dataset` alone by default. They are fitted
                on nobody's images, so training subjects may be among them. The target's labels of these are a little
                too good, but the margins are far wider than that.
        """
        scores = self.scores(dataset)
        if isinstance(self.detector, CombinedDetector):
            scores = self._moved(scores)
            score = self.detector.combine(scores, scores["foreground"])
        else:
            score = scores["score"]
        volumes: Sequence[str] = [dataset.ids[number] for number, _ in dataset.items]
        record = shield_record(
            self.detector,
            self.reformer,
            dataset.transform,
            self.network,
            slice_axis=dataset.axis,
            min_foreground=dataset.min_foreground,
            foreground=dataset.foreground,
            head=self.head,
            t_fp=float(t_fp),
        )
        calibration = Calibration.fit(score, t_fp, rule, volumes, source, record)
        found = Plausibility.fit(list(self.statistics([dataset] if plausible is None else plausible).values()))
        calibration = replace(calibration, plausibility=None if found is None else found.state())
        self.detector.calibration = calibration
        logger.info(
            "threshold %.4f from %d clean slices of %d volumes at t_fp = %g (%s); volume limit %.4f.",
            calibration.threshold,
            len(score),
            calibration.num_volumes,
            t_fp,
            rule,
            calibration.volume_limit,
        )
        if calibration.num_volumes < 1 / t_fp - 1:
            logger.warning(
                "%d volumes: the rate of %g is promised for slices like these, not for those of a new subject, which "
                "would need %d volumes.",
                calibration.num_volumes,
                t_fp,
                round(1 / t_fp) - 1,
            )
        return calibration
