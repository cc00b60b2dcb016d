# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What an attack still costs behind a shield."""

import numpy as np


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
