# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Several detectors as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

from monai_shield.detectors.base import Detector
from monai_shield.detectors.precision import full_precision
from monai_shield.detectors.views import Views


class CombinedDetector(Detector):
    r"""
    One standardized scalar out of the scores of several detectors, so that one threshold serves them all.

    What is strange depends on how much there is to see: a slice through the tip of a brain has a smaller
    reconstruction error than one through its middle, attacked or not. So each score s is judged against clean
    *training* images with as much foreground b, by a polynomial fitted to their logarithms:

    .. math:: z = \frac{\log s - \sum_k w_k (\log b)^k}{\sigma}

    and the scalars z are joined. The result is then calibrated like any other detector.

    Args:
        detectors: name to detector.
        rule: "max" rejects what any of them finds strange, "mean" what they find strange together.
        degree: degree of the polynomial; 0 standardizes by one mean and deviation.

    Raises:
        ValueError: for no detectors, an unknown rule, or a negative degree.
    """

    info = {"title": "combined", "source": "arXiv 1705.09064"}  # noqa: RUF012
    weights: torch.Tensor
    deviation: torch.Tensor
    foreground_range: torch.Tensor

    def __init__(
        self, detectors: Mapping[str, Detector], rule: Literal["max", "mean"] = "max", degree: int = 3
    ) -> None:
        super().__init__()
        if not detectors:
            raise ValueError("a combined detector needs at least one detector.")
        if rule not in ("max", "mean"):
            raise ValueError(f"unknown rule '{rule}': choose 'max' or 'mean'.")
        if degree < 0:
            raise ValueError(f"degree must not be negative, got {degree}.")
        self.detectors = torch.nn.ModuleDict(detectors)
        self.rule = rule
        # NaN until fitted: the score is then NaN, and NaN is rejected.
        self.register_buffer("weights", torch.full((len(detectors), degree + 1), torch.nan))
        self.register_buffer("deviation", torch.full((len(detectors),), torch.nan))
        self.register_buffer("foreground_range", torch.zeros(2))

    def single_scores(self, views: Views) -> dict[str, torch.Tensor]:
        """The score of each detector by name, each (B,), before standardization."""
        return {name: detector(views) for name, detector in self.detectors.items()}

    def fit(self, scores: Mapping[str, torch.Tensor], foreground: torch.Tensor) -> CombinedDetector:
        """
        Fit what is usual.

        Args:
            scores: name of each detector to its scores on clean training images, (n,).
            foreground: share of foreground of each of these images, (n,).

        Raises:
            ValueError: where a detector's scores are missing, constant, or fewer than the polynomial needs.
        """
        missing = set(self.detectors) - set(scores)
        if missing:
            raise ValueError(f"no training scores of {', '.join(sorted(missing))}.")
        if len(foreground) <= self.weights.shape[1]:
            raise ValueError(f"{len(foreground)} images are too few to fit {self.weights.shape[1]} weights.")
        log_share = self._log(foreground)
        self.foreground_range.copy_(torch.stack([log_share.min(), log_share.max()]))
        powers = self._powers(foreground).double()
        logs = torch.stack([self._log(scores[name]) for name in self.detectors], dim=1).double()
        weights = torch.linalg.lstsq(powers, logs, driver="gelsd" if powers.device.type == "cpu" else None).solution
        deviation = (logs - powers @ weights).std(dim=0)
        if not bool(torch.isfinite(deviation).all()) or bool((deviation < 1e-6).any()):
            raise ValueError("the training scores of a detector are constant or not finite.")
        self.weights.copy_(weights.T)
        self.deviation.copy_(deviation)
        return self

    def standardized(self, scores: Mapping[str, torch.Tensor], foreground: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Every score standardized, by name, each (B,).

        Args:
            scores: the score of each detector by name, (B,).
            foreground: share of foreground of the images, (B,).
        """
        powers = self._powers(foreground)
        with full_precision(powers):  # a matrix product would be rounded to half precision under autocast
            usual = powers @ self.weights.T.to(powers.dtype)
        return {
            name: (self._log(scores[name]) - usual[:, k]) / self.deviation[k] for k, name in enumerate(self.detectors)
        }

    def combine(self, scores: Mapping[str, torch.Tensor], foreground: torch.Tensor) -> torch.Tensor:
        """One scalar, (B,); arguments are those of :meth:`standardized`."""
        standardized = torch.stack(list(self.standardized(scores, foreground).values()), dim=1)
        return standardized.amax(dim=1) if self.rule == "max" else standardized.mean(dim=1)

    def forward(self, views: Views) -> torch.Tensor:
        return self.combine(self.single_scores(views), views.foreground_share)

    def _powers(self, foreground: torch.Tensor) -> torch.Tensor:
        """Powers of log b, (B, degree + 1); outside the range that was fitted its end stands in."""
        log_share = self._log(foreground).clamp(self.foreground_range[0], self.foreground_range[1])
        return torch.stack([log_share**k for k in range(self.weights.shape[1])], dim=1)

    @staticmethod
    def _log(score: torch.Tensor) -> torch.Tensor:
        return score.clamp_min(torch.finfo(score.dtype).tiny).log()
