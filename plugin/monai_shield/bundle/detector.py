# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A detector, from the weights it ships with or from those its parts were just trained to."""

from collections.abc import Mapping
from pathlib import Path

from monai_shield.detectors import CombinedDetector
from monai_shield.utils import load_weights


def load_detector(
    detector: CombinedDetector, weights: str | Path, part_weights: Mapping[str, str | Path | None] | None = None
) -> CombinedDetector:
    """
    Load a combined detector that is to be calibrated: whatever calibration its weights bear is left out.

    Args:
        detector: the detector to fill.
        weights: of all of it, and its combination; not read where `part_weights` are given.
        part_weights: name of a part to its weights, from a training; None to take `weights`.

    Raises:
        FileNotFoundError: where a file is missing.
        ValueError: where one was altered, cannot be read, or belongs to another network.
    """
    parts = {name: path for name, path in (part_weights or {}).items() if path}
    if not parts:
        return load_weights(detector, weights, calibrated=False)
    for name, path in parts.items():
        load_weights(detector.detectors[name], path, calibrated=False)
    return detector
