# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Losses."""

from monai_shield.losses.weighted_logistic_dice import (
    WeightedLogisticDiceLoss,
    label_boundary,
    median_frequency_weights,
)
