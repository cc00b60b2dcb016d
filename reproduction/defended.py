# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a defense leaves of an attack: Dice in every variant, residual harm, accepted shares."""

from dataclasses import dataclass

import numpy as np
import torch

from monai_shield.evaluation.summary import slice_dice
from monai_shield.metrics import rejected_as_zero, rejected_deferred, residual_harm
from reproduction.study_values import StudyValues


@dataclass(frozen=True)
class Defended:
    """
    What a defense makes of attacked slices and of the clean slices that they are made from.

    Args:
        bare: overlap counts of the clean slices without a defense, (S, K, 3).
        attacked: of the attacked slices without one.
        reformed_clean: of the reformed clean slices.
        reformed: of the reformed attacked slices.
        rejected: which attacked slices are rejected, (S,).
        rejected_clean: which clean slices are rejected, (S,).
        scans: which scan each slice is of, (S,).
    """

    bare: torch.Tensor
    attacked: torch.Tensor
    reformed_clean: torch.Tensor
    reformed: torch.Tensor
    rejected: np.ndarray
    rejected_clean: np.ndarray
    scans: np.ndarray


def measures(defended: Defended, values: StudyValues) -> dict[str, np.ndarray]:
    """Every variant of Dice, residual harm and accepted shares, each by scan, (V,)."""
    bare, reformed, scans = defended.bare, defended.reformed, defended.scans
    rejected = torch.from_numpy(defended.rejected)
    before, after = slice_dice(bare), slice_dice(reformed)
    harm = [residual_harm(before[m], after[m], defended.rejected[m]) for m in values.members(scans)]
    return {
        "undefended": values.dice(defended.attacked, scans),
        "reformed": values.dice(reformed, scans),
        "accepted": values.dice(reformed, scans, ~defended.rejected),
        "rejected_as_zero": values.dice(rejected_as_zero(reformed, rejected), scans),
        "rejected_deferred": values.dice(rejected_deferred(reformed, rejected, bare), scans),
        "harm": np.array(harm),
        "accepted_attacked": values.by_scan(~defended.rejected, scans),
        "accepted_clean": values.by_scan(~defended.rejected_clean, scans),
        "clean": values.dice(bare, scans),
        "clean_reformed": values.dice(defended.reformed_clean, scans),
    }
