# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""How well a score tells attacked from clean images."""

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve


def detection_auc(clean: np.ndarray, attacked: np.ndarray) -> float:
    """
    Area under the ROC curve, in percent: how often an attacked image scores above a clean one, ties counted half.

    Args:
        clean: scores of clean images, (n,).
        attacked: scores of attacked images, (m,); a score that is not finite counts as above all others.

    Raises:
        ValueError: where either is empty.
    """
    if len(clean) == 0 or len(attacked) == 0:
        raise ValueError("an AUC needs clean and attacked scores.")
    scores = _finite(np.concatenate([clean, attacked]))
    truth = np.concatenate([np.zeros(len(clean)), np.ones(len(attacked))])
    return 100 * float(roc_auc_score(truth, scores))


def detection_roc(clean: np.ndarray, attacked: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """
    ROC curve: the share of attacked images above the threshold at which a share of clean ones is.

    Args:
        clean: scores of clean images, (n,).
        attacked: scores of attacked images, (m,); a score that is not a number counts as above all others.
        rates: shares of clean images, (k,).

    Returns:
        shares of attacked images, (k,).
    """
    truth = np.concatenate([np.zeros(len(clean)), np.ones(len(attacked))])
    false, true, _ = roc_curve(truth, _finite(np.concatenate([clean, attacked])))
    return np.interp(rates, false, true)


def pair_order(clean: np.ndarray, attacked: np.ndarray) -> np.ndarray:
    """
    Whether an attacked image scores above a clean one, for every pair: 1, 0, or 1/2 for a tie.

    Its mean is the AUC, so that resampled AUCs are means of sub-matrices, a hundred times faster than ROC curves.

    Args:
        clean: scores of clean images, (n,).
        attacked: scores of attacked images, (m,).

    Returns:
        (n, m).
    """
    return outranks(np.asarray(clean)[:, None], np.asarray(attacked)[None, :])


def outranks(clean: np.ndarray, attacked: np.ndarray) -> np.ndarray:
    """
    Whether each attacked image scores above the clean one beside it: 1, 0, or 1/2 for a tie.

    Args:
        clean: scores of clean images, of any shape.
        attacked: scores of attacked images, of a shape that goes with it.
    """
    below, above = _finite(clean), _finite(attacked)
    return (above > below) + 0.5 * (above == below)


def _finite(scores: np.ndarray) -> np.ndarray:
    return np.nan_to_num(np.asarray(scores, dtype=np.float64), nan=np.finfo(np.float64).max)
