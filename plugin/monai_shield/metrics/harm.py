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
"""What an attack still costs behind a shield."""

from __future__ import annotations

import numpy as np

__all__ = ["residual_harm"]


def residual_harm(clean_dice: np.ndarray, defended_dice: np.ndarray, rejected: np.ndarray) -> float:
    r"""
    Residual harm: the Dice that attacked images still cost, where they are let through.

    .. math:: \frac1N \sum_i 1[\text{accepted}_i] \max(0, \mathrm{Dice}(t(x_i), y_i) - \mathrm{Dice}(s(x'_i), y_i))

    Args:
        clean_dice: Dice of the bare target on each clean image, (N,).
        defended_dice: Dice of the shielded target on each attacked image, (N,).
        rejected: whether the shield rejected it, (N,).

    Returns:
        between 0 and 1. To be read beside the accepted shares: rejecting everything is no defense.

    Raises:
        ValueError: for vectors of different lengths.
    """
    if not len(clean_dice) == len(defended_dice) == len(rejected):
        raise ValueError("one clean Dice, one defended Dice and one decision an image are needed.")
    lost = np.maximum(0.0, np.asarray(clean_dice) - np.asarray(defended_dice))
    return float(np.mean(lost * ~np.asarray(rejected, dtype=bool)))
