# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Several detectors one after the other, each with a threshold of its own."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, cast

import torch

from monai_shield.detectors.base import Detector, UncalibratedError
from monai_shield.detectors.calibration import Calibration, Rule
from monai_shield.detectors.views import Views

BORDER = -1.0  # a score above it: some detector's is above its threshold


def sequential_score(stages: Sequence[tuple[torch.Tensor, Calibration]]) -> torch.Tensor:
    """
    The score of :class:`SequentialDetector` out of those of its detectors.

    Args:
        stages: the scores of each detector, (B,), with its calibration.

    Returns:
        (B,), above -1 where a detector rejects, infinite where a score is not finite; in double precision: a rounded
        ratio might cross -1.
    """
    single = []
    for score, calibration in stages:
        # of ranks, not of p-values: two that are equal stay so when they are rounded
        ratio = calibration.rank(score) / calibration.rank(torch.tensor([calibration.threshold], dtype=torch.float64))
        single.append(torch.where(torch.isfinite(score), -ratio.to(score.device), torch.inf))
    return torch.stack(single).amax(dim=0)


class SequentialDetector(Detector):
    r"""
    Several detectors one after the other: an image that one rejects never reaches the next.

    An image is rejected where any detector rejects it, whatever their order, so the sequence can be said in one
    score: with :math:`p_k(s_k)` the conformal p-value of the k-th detector's score and :math:`t_k` its threshold,

    .. math:: s = -\min_k \frac{p_k(s_k)}{p_k(t_k)}

    is above -1 exactly where a detector's score is above its threshold, and infinite where a score is not finite.

    K detectors share the allowed rate evenly, t_fp / K each, and together reject no more than t_fp (Bonferroni): of
    the validation images themselves by the empirical rule, in probability by the conformal one. Detectors that find
    the same images strange together reject less; :class:`~monai_shield.detectors.CombinedDetector` does not pay that.

    The score has as many values as there are validation images, and no gradient: an adaptive attack goes through
    :meth:`single_scores`.

    Meng & Chen (2017), "MagNet: a Two-Pronged Defense against Adversarial Examples", https://arxiv.org/abs/1705.09064

    Args:
        detectors: name to detector, in order.

    Raises:
        ValueError: for no detectors.
    """

    info = {"title": "sequential", "source": "arXiv 1705.09064"}  # noqa: RUF012

    def __init__(self, detectors: Mapping[str, Detector]) -> None:
        super().__init__()
        if not detectors:
            raise ValueError("a sequential detector needs at least one detector.")
        self.detectors = torch.nn.ModuleDict(detectors)

    @property
    def stages(self) -> Mapping[str, Detector]:
        """The detectors by name, in order."""
        return cast("Mapping[str, Detector]", self.detectors)

    def single_scores(self, views: Views) -> dict[str, torch.Tensor]:
        """The score of each detector by name, each (B,)."""
        return {name: detector(views) for name, detector in self.stages.items()}

    def calibrate(
        self,
        scores: Mapping[str, torch.Tensor],
        t_fp: float = 0.05,
        rule: Rule = "conformal",
        volumes: Sequence[Any] | None = None,
        source: str = "",
    ) -> Calibration:
        """
        Set the threshold of every detector, and with them that of the sequence.

        Args:
            scores: name of each detector to its scores on clean validation images, (n,).
            t_fp: allowed false-positive rate of the sequence.
            rule: see :func:`threshold_of`; the conformal one needs K / t_fp - 1 images.
            volumes: for each score, which volume it came from.
            source: what it was calibrated on, in words.

        Returns:
            the calibration of the sequence.

        Raises:
            ValueError: for t_fp outside (0, 1), missing scores, or scores that :func:`threshold_of` refuses.
        """
        if not 0 < t_fp < 1:
            raise ValueError(f"t_fp must be in (0, 1), got {t_fp}.")
        missing = set(self.stages) - set(scores)
        if missing:
            raise ValueError(f"no validation scores of {', '.join(sorted(missing))}.")
        share = Fraction(str(t_fp)) / len(self.stages)
        fitted = {name: Calibration.fit(scores[name], share, rule, volumes, source) for name in self.stages}
        for name, detector in self.stages.items():
            detector.calibration = fitted[name]
        self.calibration = Calibration.fit(self.combine(scores), t_fp, rule, volumes, source, threshold=BORDER)
        return self.calibration

    def combine(self, scores: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """
        One score out of those of the detectors.

        Args:
            scores: the score of each detector by name, (B,).

        Returns:
            (B,), see :func:`sequential_score`.

        Raises:
            UncalibratedError: where a detector has no threshold.
        """
        return sequential_score([(scores[name], detector.calibrated()) for name, detector in self.stages.items()])

    def calibrated(self) -> Calibration:
        """
        Raises:
            UncalibratedError: where there is no calibration, or the detectors do not share its rate evenly.
        """
        calibration = super().calibrated()
        for name, detector in self.stages.items():
            share = detector.calibrated().t_fp
            if not math.isclose(share * len(self.stages), calibration.t_fp):
                raise UncalibratedError(f"{name} was calibrated for a rate of {share}: calibrate the sequence again.")
        return calibration

    def check_calibration(self, calibration: Calibration) -> None:
        calibration.check(threshold=BORDER)

    def forward(self, views: Views) -> torch.Tensor:
        return self.combine(self.single_scores(views))
