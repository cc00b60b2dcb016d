# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Many statistics on the same resamples of subjects, so that their differences are paired."""

from collections.abc import Sequence

import numpy as np

from monai_shield.metrics.detection import pair_order


class SubjectResamples:
    """
    How often each subject is drawn: once in the first row, which is the sample itself, at random in all others.

    A statistic comes back as one number a row; the mean of two statistics, or their difference, is then taken row by
    row, and its interval is that of a paired comparison.

    Args:
        subjects: of each scan.
        resamples: random rows.
        seed: of the draws.

    Raises:
        ValueError: for no subject or no resample.
    """

    def __init__(self, subjects: Sequence[str], resamples: int = 1000, seed: int = 0) -> None:
        if not subjects or resamples < 1:
            raise ValueError("resampling needs a subject and a resample.")
        self.names = list(dict.fromkeys(subjects))
        self.place = np.array([self.names.index(subject) for subject in subjects])
        count = len(self.names)
        drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples)
        self.weights = np.vstack([np.ones(count), drawn])

    def mean(self, values: np.ndarray) -> np.ndarray:
        """
        Mean over scans, those without a value left out.

        Args:
            values: of each scan, (V,); NaN for none.

        Returns:
            (1 + resamples,); NaN where no scan that was drawn has a value.
        """
        values = np.asarray(values, dtype=np.float64)
        there = ~np.isnan(values)
        weights = self.weights[:, self.place[there]]
        with np.errstate(invalid="ignore"):
            return weights @ values[there] / weights.sum(axis=1)

    def auc(
        self, clean: np.ndarray, attacked: np.ndarray, clean_scan: np.ndarray, attacked_scan: np.ndarray
    ) -> np.ndarray:
        """
        Area under the ROC curve, in percent, of the images of the subjects drawn.

        The pairs of images are counted once for each pair of subjects; a resample weighs them by how often both were
        drawn. Pairs within one subject are weighed by how often it was drawn, not by its square as a plain bootstrap
        does: they are easy, and twice as frequent as in the sample they would raise the interval.

        Args:
            clean: scores of clean images, (n,).
            attacked: scores of attacked images, (m,).
            clean_scan: which scan each is of, (n,).
            attacked_scan: likewise, (m,).

        Returns:
            (1 + resamples,)
        """
        first, second = (np.eye(len(self.names))[self.place[scan]] for scan in (clean_scan, attacked_scan))
        wins = first.T @ pair_order(clean, attacked) @ second
        pairs = np.outer(first.sum(axis=0), second.sum(axis=0))
        return 100 * self._form(wins) / self._form(pairs)

    def interval(self, statistic: np.ndarray) -> dict[str, float]:
        """The statistic itself and its 95 % interval, by the percentiles of the resamples."""
        drawn = statistic[1:][~np.isnan(statistic[1:])]
        if np.isnan(statistic[0]) or not len(drawn):
            return {"value": float("nan"), "low": float("nan"), "high": float("nan")}
        low, high = np.percentile(drawn, [2.5, 97.5])
        return {"value": float(statistic[0]), "low": float(low), "high": float(high)}

    def _form(self, matrix: np.ndarray) -> np.ndarray:
        within = np.diag(matrix)
        return np.einsum("rp,pq,rq->r", self.weights, matrix - np.diag(within), self.weights) + self.weights @ within
