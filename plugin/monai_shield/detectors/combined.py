# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Several detectors as one."""

from collections.abc import Iterable, Mapping
from typing import Literal

import torch

from monai_shield.detectors.base import Detector
from monai_shield.detectors.composite import CompositeDetector
from monai_shield.detectors.precision import full_precision
from monai_shield.detectors.views import Views
from monai_shield.info import Info


class CombinedDetector(CompositeDetector):
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

    info = Info("combined", "Meng and Chen, MagNet: a Two-Pronged Defense", 2017, "1705.09064")
    weights: torch.Tensor
    deviation: torch.Tensor
    foreground_range: torch.Tensor

    def __init__(
        self, detectors: Mapping[str, Detector], rule: Literal["max", "mean"] = "max", degree: int = 3
    ) -> None:
        super().__init__(detectors)
        if rule not in ("max", "mean"):
            raise ValueError(f"unknown rule '{rule}': choose 'max' or 'mean'.")
        if degree < 0:
            raise ValueError(f"degree must not be negative, got {degree}.")
        self.rule = rule
        # NaN until fitted: the score is then NaN, and NaN is rejected.
        self.register_buffer("weights", torch.full((len(detectors), degree + 1), torch.nan))
        self.register_buffer("deviation", torch.full((len(detectors),), torch.nan))
        self.register_buffer("foreground_range", torch.zeros(2))

    def score_with_parts(self, views: Views) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        powers = self._powers(_log(views.foreground_share))
        with full_precision(powers):  # a matrix product would be rounded to half precision under autocast
            usual = powers @ self.weights.T.to(powers.dtype)
        standardized = (_log(self._stacked(views)) - usual) / self.deviation
        score = standardized.amax(dim=1) if self.rule == "max" else standardized.mean(dim=1)
        return score, dict(zip(self.parts, standardized.unbind(dim=1)))

    def _fit(self, views: Iterable[Views]) -> None:
        found = [(self._stacked(each), each.foreground_share) for each in views]
        number, needed = sum(len(scores) for scores, _ in found), self.weights.shape[1]
        if number <= needed:
            raise ValueError(f"{number} images are too few to fit {needed} weights.")
        logs, log_share = (_log(torch.cat(each)) for each in zip(*found))
        self.foreground_range.copy_(torch.stack([log_share.min(), log_share.max()]))
        powers, logs = self._powers(log_share).double(), logs.double()
        driver = "gelsd" if powers.device.type == "cpu" else None
        weights = torch.linalg.lstsq(powers, logs, driver=driver).solution
        deviation = (logs - powers @ weights).std(dim=0)
        if not bool(torch.isfinite(deviation).all()) or bool((deviation < 1e-6).any()):
            raise ValueError("the training scores of a detector are constant or not finite.")
        self.weights.copy_(weights.T)
        self.deviation.copy_(deviation)

    def _stacked(self, views: Views) -> torch.Tensor:
        """The score of each part, (B, K)."""
        return torch.stack(list(self.single_scores(views).values()), dim=1)

    def _powers(self, log_share: torch.Tensor) -> torch.Tensor:
        """Powers of log b, (B, degree + 1); outside the range that was fitted its end stands in."""
        inside = log_share.clamp(self.foreground_range[0], self.foreground_range[1])
        return torch.stack([inside**k for k in range(self.weights.shape[1])], dim=1)


def _log(score: torch.Tensor) -> torch.Tensor:
    return score.clamp_min(torch.finfo(score.dtype).tiny).log()
