# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The paper's threshold, and scores that are adjusted for foreground share."""

from fractions import Fraction

import numpy as np
import torch

from monai_shield.detectors import Calibration, threshold_of


def adjusted_scores(
    scores: np.ndarray, log_share: np.ndarray, clean: np.ndarray, clean_log_share: np.ndarray, name: str
) -> np.ndarray:
    """
    Scores that are adjusted for foreground share, (S,).

    They are logarithms, less a cubic in the logarithm of the share of foreground that is fitted to clean images. The
    cubic is continued flat beyond the shares of these. :class:`~monai_shield.detectors.CombinedDetector` does the same
    with training slices.

    Args:
        scores: of the images, (S,).
        log_share: logarithm of their share of foreground, (S,).
        clean: scores of clean images, (N,).
        clean_log_share: logarithm of theirs, (N,).
        name: whose scores they are, for errors.

    Raises:
        ValueError: where a score has no logarithm, or a clean score is not finite.
    """
    if not np.isfinite(clean).all():
        raise ValueError(f"{name}: a clean score is not finite; no score can be adjusted by it.")
    if (scores < 0).any() or (clean < 0).any():
        raise ValueError(f"{name}: negative scores have no logarithm.")
    own, usual = (np.log(np.maximum(each, np.finfo(np.float64).tiny)) for each in (scores, clean))
    curve = np.polyfit(clean_log_share, usual, min(3, len(np.unique(clean_log_share)) - 1))
    return own - np.polyval(curve, log_share.clip(clean_log_share.min(), clean_log_share.max()))


def paper_calibration(clean: np.ndarray, t_fp: float | Fraction) -> Calibration:
    """
    The paper's threshold from clean scores, (N,).

    A shield refuses scores that are all the same; a study measures their detector, too.

    Raises:
        ValueError: for scores that :func:`~monai_shield.detectors.threshold_of` refuses.
    """
    scores = torch.from_numpy(clean).double()
    threshold = threshold_of(scores, t_fp, "empirical")
    return Calibration(scores.sort().values, threshold, float(t_fp), "empirical")
