# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Confidence intervals over subjects."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np


def subject_bootstrap(
    statistic: Callable[[np.ndarray], float],
    subjects: Sequence[Hashable],
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """
    Percentile interval of a statistic, by resampling subjects: slices and repeat scans of one subject stay together.

    Args:
        statistic: from the indices of the images drawn to a number.
        subjects: the subject of each image, (N,).
        resamples: number of draws.
        level: of the interval.
        seed: of the draws.

    Returns:
        lower and upper end; draws whose statistic is NaN are left out.
    """
    groups = {subject: np.flatnonzero([p == subject for p in subjects]) for subject in dict.fromkeys(subjects)}
    members = list(groups.values())
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        draw = generator.integers(0, len(members), len(members))
        values.append(statistic(np.concatenate([members[i] for i in draw])))
    tail = (1 - level) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)
