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
"""A detector, from the weights it ships with or from those its parts were just trained to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from monai_shield.detectors import CombinedDetector
from monai_shield.utils import load_weights

__all__ = ["load_detector"]


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
