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
"""Confidence intervals over people."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

__all__ = ["person_bootstrap"]


def person_bootstrap(
    statistic: Callable[[np.ndarray], float],
    persons: Sequence[Hashable],
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """
    Percentile interval of a statistic, by resampling people: slices and repeat scans of one person stay together.

    Args:
        statistic: from the indices of the images drawn to a number.
        persons: whom each image shows, (N,).
        resamples: number of draws.
        level: of the interval.
        seed: of the draws.

    Returns:
        lower and upper end; draws whose statistic is NaN are left out.
    """
    groups = {person: np.flatnonzero([p == person for p in persons]) for person in dict.fromkeys(persons)}
    members = list(groups.values())
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        draw = generator.integers(0, len(members), len(members))
        values.append(statistic(np.concatenate([members[i] for i in draw])))
    tail = (1 - level) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)
