# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The threshold rule: how clean validation scores become a decision."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import torch
from typing_extensions import Self

from monai_shield.detectors.record import Record

Rule = Literal["conformal", "empirical"]

#: Scores whose relative range is below some float32 epsilons differ by rounding only.
ROUNDING = 1e-6


def threshold_of(scores: torch.Tensor, t_fp: float | Fraction, rule: Rule = "conformal") -> float:
    """
    The threshold above which an image is rejected, from n clean validation scores.

    - ``conformal``: the floor(t_fp (n + 1))-th largest score. A clean image that is exchangeable with the validation
      images is rejected with a probability of at most t_fp.
    - ``empirical``: the (floor(t_fp n) + 1)-th largest score, which is the lowest threshold whose rejection rate on
      the validation images themselves is at most t_fp (the paper's rule).

    Args:
        scores: clean validation scores, (n,).
        t_fp: allowed false-positive rate, in (0, 1).
        rule: see above.

    Raises:
        ValueError: for no or non-finite scores, t_fp outside (0, 1), an unknown rule, or, by the conformal rule,
            fewer than 1/t_fp - 1 scores: no threshold could keep the promise.
    """
    _check_scores(scores)
    if not 0 < t_fp < 1:
        raise ValueError(f"t_fp must be in (0, 1), got {t_fp}.")
    n = scores.numel()
    # Exact arithmetic: 0.29 * 100 is 28.999... in floating point, and its floor would be one too small.
    # A third of 0.05 that went through a file is a 60th again.
    rate = t_fp if isinstance(t_fp, Fraction) else Fraction(str(t_fp)).limit_denominator(10**9)
    if rule == "conformal":
        rank = int(rate * (n + 1))
        if rank < 1:
            raise ValueError(f"t_fp = {t_fp} needs at least {-(-1 // rate) - 1} clean scores, got {n}.")
    elif rule == "empirical":
        rank = int(rate * n) + 1
    else:
        raise ValueError(f"unknown rule '{rule}': choose 'conformal' or 'empirical'.")
    return float(scores.sort(descending=True).values[rank - 1])


@dataclass(frozen=True)
class Calibration:
    """
    What a detector needs to decide, and to say how sure it is.

    Args:
        scores: the clean validation scores of single images (slices), sorted, (n,).
        threshold: an image is rejected when its score is above it.
        t_fp: the false-positive rate it was chosen for.
        rule: how it was chosen.
        volume_limit: largest share of rejected slices of a clean validation volume; None where no volumes were given.
        num_volumes: number of those volumes.
        source: what it was calibrated on, in words.
        volumes: for each of the scores, the number of the volume it came from, (n,); None where no volumes were given.
        made_with: what the shield consisted of, see :func:`~monai_shield.detectors.shield_record`; empty where that was
            not recorded.
        plausibility: the state of a :class:`~monai_shield.detectors.Plausibility`; None where it is not checked.
    """

    scores: torch.Tensor
    threshold: float
    t_fp: float
    rule: Rule = "conformal"
    volume_limit: float | None = None
    num_volumes: int = 0
    source: str = ""
    volumes: torch.Tensor | None = None
    made_with: Record = field(default_factory=dict)
    plausibility: dict[str, Any] | None = None

    @classmethod
    def fit(
        cls,
        scores: torch.Tensor,
        t_fp: float | Fraction = 0.05,
        rule: Rule = "conformal",
        volumes: Sequence[Any] | None = None,
        source: str = "",
        threshold: float | None = None,
    ) -> Self:
        """
        Make the calibration of a detector.

        Args:
            scores: clean validation scores, (n,).
            t_fp: allowed false-positive rate.
            rule: see :func:`threshold_of`.
            volumes: for each score, which volume it came from.
            source: what it was calibrated on, in words.
            threshold: where it is not to be chosen from these scores, but was by the same rule from others.

        Raises:
            ValueError: for scores that :func:`threshold_of` refuses; for several scores that are all the same, up to
                the rounding of float32: such a detector never rejects; for another number of volume names.
        """
        scores = scores.detach().double().cpu()
        _check_scores_differ(scores)
        own = threshold_of(scores, t_fp, rule)
        threshold = own if threshold is None else threshold
        names = [] if volumes is None else list(dict.fromkeys(volumes))
        if volumes is not None and len(volumes) != len(scores):
            raise ValueError(f"{len(volumes)} volume names for {len(scores)} scores.")
        values, order = scores.sort()
        numbers = None if volumes is None else torch.tensor([names.index(volume) for volume in volumes])[order]
        limit = None if numbers is None else _volume_limit(values, numbers, threshold)
        return cls(values, threshold, float(t_fp), rule, limit, len(names), source, numbers)

    def check(self, threshold: float | None = None) -> None:
        """
        Check that threshold and limit follow from the scores: they travel in a file that somebody may have edited.

        Args:
            threshold: what it has to be; by default what the rule makes of the scores.

        Raises:
            ValueError: where they do not follow.
        """
        _check_scores_differ(self.scores)
        if not bool((self.scores.diff() >= 0).all()):
            raise ValueError("the clean scores of the calibration are not sorted.")
        expected = threshold_of(self.scores, self.t_fp, self.rule) if threshold is None else threshold
        if self.threshold != expected:
            raise ValueError(f"the threshold {self.threshold} does not follow from the clean scores: {expected} does.")
        if self.volumes is None:
            if self.volume_limit is not None:
                raise ValueError("nothing is known of where the limit of a volume comes from: calibrate again.")
            return
        if len(self.volumes) != len(self.scores) or self.volumes.unique().tolist() != list(range(self.num_volumes)):
            raise ValueError("the volumes of the calibration are not those of its scores.")
        limit = _volume_limit(self.scores, self.volumes, self.threshold)
        if self.volume_limit != limit:
            raise ValueError(f"the limit {self.volume_limit} does not follow from the clean scores: {limit} does.")

    def p_value(self, score: torch.Tensor) -> torch.Tensor:
        """(1 + number of clean scores at or above `score`) / (n + 1), the conformal p-value, (B,)."""
        return self.rank(score) / (len(self.scores) + 1)

    def rank(self, score: torch.Tensor) -> torch.Tensor:
        """1 + number of clean scores at or above `score`, (B,), whole numbers in double precision."""
        below = torch.searchsorted(self.scores, score.detach().double().cpu().contiguous(), side="left")
        return (1 + len(self.scores) - below).double()

    def rejects(self, score: torch.Tensor) -> torch.Tensor:
        """Whether each score, (B,), is above the threshold; a score that is not finite always is."""
        score = score.detach().double().cpu()
        return (score > self.threshold) | ~torch.isfinite(score)

    def state(self) -> dict[str, Any]:
        """Tensors, numbers and strings only: it is read with ``weights_only=True``."""
        return dict(vars(self))


def _volume_limit(scores: torch.Tensor, volumes: torch.Tensor, threshold: float) -> float:
    """Largest share of scores (n,) above the threshold in one of the volumes (n,)."""
    rejected = (scores > threshold).double()
    return max(float(rejected[volumes == number].mean()) for number in volumes.unique().tolist())


def _check_scores(scores: torch.Tensor) -> None:
    if scores.ndim != 1 or scores.numel() == 0:
        raise ValueError(f"a calibration needs a vector of clean scores, got shape {tuple(scores.shape)}.")
    if not bool(torch.isfinite(scores).all()):
        raise ValueError("a clean score is NaN or infinite: refusing to calibrate.")


def _check_scores_differ(scores: torch.Tensor) -> None:
    _check_scores(scores)
    if len(scores) > 1 and float(scores.max() - scores.min()) <= ROUNDING * float(scores.abs().max()):
        raise ValueError(
            f"the detector gave every one of {len(scores)} clean images the same score, {float(scores[0]):g}: "
            "refusing to calibrate."
        )
