# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Calibrate a shield on clean images: the ones it was made with, or a site's own."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch

from monai_shield.data import SliceDataset
from monai_shield.detectors import (
    Calibration,
    Detector,
    Plausibility,
    ViewBatches,
    number_of_classes,
    predicted_label,
    shield_record,
    subject_statistics,
)
from monai_shield.detectors.calibration import Rule
from monai_shield.networks.heads import Head, check_head
from monai_shield.transforms.foreground import Foreground

logger = logging.getLogger(__name__)


class ShieldCalibrator:
    """
    Fits a detector on clean training images and sets its threshold on clean validation images, in its shield.

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

    def views(self, images: SliceDataset | torch.Tensor, foreground: Foreground, progress: str = "") -> ViewBatches:
        """
        What the shield has of the slices, batch after batch.

        Raises:
            ValueError: where there is none.
        """
        if len(images) == 0:
            raise ValueError("no slice to score: none of the volumes bears enough foreground.")
        parts = (self.network, self.reformer, foreground, self.head)
        return ViewBatches(images, *parts, self.batch_size, self.device, progress)

    def fit(self, dataset: SliceDataset) -> Detector:
        """Fit on clean training slices what is not fitted yet, see :meth:`Detector.fit`; returns the detector."""
        return self.detector.fit(self.views(dataset, dataset.foreground, "fitting on clean slices"))

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
                for views in self.views(slices, dataset.foreground):
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
        volumes = [dataset.ids[number] for number, _ in dataset.items]
        views = self.views(dataset, dataset.foreground, "scoring clean slices")
        # first what may be refused: a detector is never left with half a calibration
        found = Plausibility.fit(list(self.statistics([dataset] if plausible is None else plausible).values()))
        calibration = self.detector.calibrate(views, t_fp, rule, volumes, source)
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
        plausibility = None if found is None else found.state()
        calibration = replace(calibration, made_with=record, plausibility=plausibility)
        self.detector.calibration = calibration
        logger.info(
            "threshold %.4f from %d clean slices of %d volumes at t_fp = %g (%s); volume limit %.4f.",
            calibration.threshold,
            len(volumes),
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
