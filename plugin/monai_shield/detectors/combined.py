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
"""Several detectors as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

from .base import Detector
from .views import Views

__all__ = ["CombinedDetector"]


class CombinedDetector(Detector):
    """
    One standardized scalar out of the scores of several detectors, so that one threshold serves them all.

    Each score is taken to its logarithm (errors and divergences are positive and skewed), standardized by its mean and
    deviation over clean *training* images, and the scalars are joined. It is then calibrated like any other detector.

    Args:
        detectors: name to detector.
        rule: "max" rejects what any of them finds strange, "mean" what they find strange together.

    Raises:
        ValueError: for no detectors or an unknown rule.
    """

    info = {"title": "combined", "source": "arXiv 1705.09064"}  # noqa: RUF012
    location: torch.Tensor
    scale: torch.Tensor

    def __init__(self, detectors: Mapping[str, Detector], rule: Literal["max", "mean"] = "max") -> None:
        super().__init__()
        if not detectors:
            raise ValueError("a combined detector needs at least one detector.")
        if rule not in ("max", "mean"):
            raise ValueError(f"unknown rule '{rule}': choose 'max' or 'mean'.")
        self.detectors = torch.nn.ModuleDict(detectors)
        self.rule = rule
        # NaN until fitted: the score is then NaN, and NaN is rejected.
        self.register_buffer("location", torch.full((len(detectors),), torch.nan))
        self.register_buffer("scale", torch.full((len(detectors),), torch.nan))

    def single_scores(self, views: Views) -> dict[str, torch.Tensor]:
        """The score of each detector by name, each (B,)."""
        return {name: detector(views) for name, detector in self.detectors.items()}

    def fit(self, scores: Mapping[str, torch.Tensor]) -> CombinedDetector:
        """
        Fit the scale of each score.

        Args:
            scores: name of each detector to its scores on clean training images, (n,).

        Raises:
            ValueError: where a detector's scores are missing or constant.
        """
        missing = set(self.detectors) - set(scores)
        if missing:
            raise ValueError(f"no training scores of {', '.join(sorted(missing))}.")
        logs = torch.stack([self._log(scores[name]) for name in self.detectors])
        deviation = logs.std(dim=1)
        if bool((deviation <= 0).any()) or not bool(torch.isfinite(deviation).all()):
            raise ValueError("the training scores of a detector are constant or not finite.")
        self.location.copy_(logs.mean(dim=1))
        self.scale.copy_(deviation)
        return self

    def combine(self, scores: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """One scalar, (B,), from the score of each detector by name."""
        logs = torch.stack([self._log(scores[name]) for name in self.detectors], dim=1)
        standardized = (logs - self.location) / self.scale
        return standardized.amax(dim=1) if self.rule == "max" else standardized.mean(dim=1)

    def forward(self, views: Views) -> torch.Tensor:
        return self.combine(self.single_scores(views))

    @staticmethod
    def _log(score: torch.Tensor) -> torch.Tensor:
        return score.clamp_min(torch.finfo(score.dtype).tiny).log()
