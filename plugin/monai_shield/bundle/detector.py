# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A detector, from the weights it ships with or from those its parts were just trained to."""

from collections.abc import Mapping
from pathlib import Path

import torch

from monai_shield.bundle.calibrate import ShieldCalibrator
from monai_shield.data import SliceDataset
from monai_shield.detectors import Detector
from monai_shield.networks.heads import Head
from monai_shield.utils import load_weights


def load_detector(
    detector: Detector, weights: str | Path | None, part_weights: Mapping[str, str | Path | None] | None = None
) -> Detector:
    """
    Load a detector that is to be calibrated: whatever calibration its weights bear is left out.

    What no file gives is not fitted yet, see :meth:`~monai_shield.detectors.Detector.fit`.

    Args:
        detector: the detector to fill.
        weights: of all of it; None for one without any; not read where `part_weights` are given.
        part_weights: name of a part to its weights, from a training; None to take `weights`.

    Raises:
        FileNotFoundError: where a file is missing.
        ValueError: where one was altered, cannot be read, or belongs to another network; or for an unknown part.
    """
    parts = {name: path for name, path in (part_weights or {}).items() if path}
    unknown = sorted(set(parts) - set(detector.parts))
    if unknown:
        raise ValueError(f"a {type(detector).__name__} has no part {', '.join(unknown)}.")
    for name, path in parts.items():
        load_weights(detector.parts[name], path, calibrated=False)
    if weights and not parts:
        load_weights(detector, weights, calibrated=False)
    return detector


def fitted_detectors(
    detectors: Mapping[str, Detector],
    dataset: SliceDataset,
    network: torch.nn.Module,
    head: Head | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, Detector]:
    """
    Detectors by name, each fitted on clean training slices, for a shield without a reformer.

    Args:
        detectors: name to detector.
        dataset: clean training slices.
        network: the target.
        head: what the target's channels stand for; None to read it.
        device: where to compute.
    """
    return {
        name: ShieldCalibrator(network, detector, None, device, head=head).fit(dataset)
        for name, detector in detectors.items()
    }
