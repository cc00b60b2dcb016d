# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Several detectors one after the other, each with a threshold of its own."""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import torch

from monai_shield.detectors.base import UncalibratedError
from monai_shield.detectors.calibration import Calibration
from monai_shield.detectors.composite import CompositeDetector
from monai_shield.detectors.views import Views
from monai_shield.info import Info

BORDER = -1.0  # a score above it: some detector's is above its threshold


def sequential_score(stages: Sequence[tuple[torch.Tensor, Calibration]]) -> torch.Tensor:
    """
    The score of :class:`SequentialDetector`, (B,), out of those of its detectors, (B,), each with its calibration.

    It is in double precision: a rounded ratio might cross -1.
    """
    return torch.stack([_stage_score(score, calibration) for score, calibration in stages]).amax(dim=0)


def _stage_score(score: torch.Tensor, calibration: Calibration) -> torch.Tensor:
    # of ranks, not of p-values: two that are equal stay so when they are rounded
    ratio = calibration.rank(score) / calibration.rank(torch.tensor([calibration.threshold], dtype=torch.float64))
    return torch.where(torch.isfinite(score), -ratio.to(score.device), torch.inf)


class SequentialDetector(CompositeDetector):
    r"""
    Several detectors one after the other: an image that one rejects never reaches the next.

    An image is rejected where any detector rejects it, whatever their order, so the sequence can be said in one
    score: with :math:`p_k(s_k)` the conformal p-value of the k-th detector's score and :math:`t_k` its threshold,

    .. math:: s = -\min_k \frac{p_k(s_k)}{p_k(t_k)}

    is above -1 exactly where a detector's score is above its threshold, and infinite where a score is not finite.

    K detectors share the allowed rate evenly, t_fp / K each, and together reject no more than t_fp (Bonferroni): of
    the validation images themselves by the empirical rule, in probability by the conformal one, which then needs
    K / t_fp - 1 images. Detectors that find the same images strange together reject less;
    :class:`~monai_shield.detectors.CombinedDetector` does not pay that.

    The score has as many values as there are validation images, and no gradient: an adaptive attack goes through
    :meth:`excesses`.

    Meng & Chen (2017), "MagNet: a Two-Pronged Defense against Adversarial Examples", https://arxiv.org/abs/1705.09064
    """

    fixed_threshold = BORDER
    info = Info("sequential", "Meng and Chen, MagNet: a Two-Pronged Defense", 2017, "1705.09064")

    def calibrate(self, views: Iterable[Views], t_fp: float | Fraction = 0.05, *args: Any, **rest: Any) -> Calibration:
        """Set the threshold of every detector, and with them that of the sequence; see :meth:`Detector.calibrate`."""
        self.calibration = None  # where one of the detectors is refused, the whole decides nothing
        share = Fraction(str(t_fp)) / len(self.parts)
        for detector in self.parts.values():
            detector.calibrate(views, share, *args, **rest)
        return super().calibrate(views, t_fp, *args, **rest)

    def score_with_parts(self, views: Views) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        scores = self.single_scores(views)
        single = {name: _stage_score(scores[name], detector.calibrated()) for name, detector in self.parts.items()}
        return torch.stack(list(single.values())).amax(dim=0), single

    def calibrated(self) -> Calibration:
        """The calibration; an UncalibratedError where there is none, or its rate is not shared evenly."""
        calibration = super().calibrated()
        for name, detector in self.parts.items():
            share = detector.calibrated().t_fp
            if not math.isclose(share * len(self.parts), calibration.t_fp):
                raise UncalibratedError(f"{name} was calibrated for a rate of {share}: calibrate the sequence again.")
        return calibration

    def excesses(self, views: Views) -> dict[str, torch.Tensor]:
        return {
            f"{name}, {what}": excess
            for name, detector in self.parts.items()
            for what, excess in detector.excesses(views).items()
        }
