# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What an attack on a file came to, in numbers."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_shield.attacks import Attack, MultiLabel
from monai_shield.bundle.attacked_file import AttackedBatch
from monai_shield.bundle.target import BundleTarget
from monai_shield.metrics import dice_of_counts, overlap_counts
from monai_shield.transforms import PreprocessedFile, read_values

Record = dict[str, Any]


def success_record(attack: Attack, batches: Sequence[AttackedBatch], prediction: torch.Tensor) -> Record:
    """Pixels flipped and cases where the attack met its goal: in its loop, and by the prediction (S,1,spatial) of all
    cases of the file read back."""
    flipped = attacked = 0
    left = 0.0
    met = []
    for batch in batches:
        problem, result = batch.problem, batch.result
        found = prediction[batch.cases].squeeze(1).to(problem.label.device)
        unfooled = problem.not_fooled(found)
        met += (attack.success_criterion()(found, unfooled, problem) | (result.attacked == 0)).tolist()
        flipped += int((problem.attacked & ~unfooled).sum())
        attacked += int(result.attacked.sum())
        left += float((result.remaining * result.attacked).sum())
    return {
        "steps": float(torch.cat([batch.result.steps for batch in batches]).double().mean()),
        "attacked_pixels": attacked,
        "success_in_loop": float(torch.cat([batch.result.success for batch in batches]).double().mean()),
        "success_read_back": sum(met) / len(met),
        "flipped_in_loop": 1 - left / attacked if attacked else None,
        "flipped_read_back": flipped / attacked if attacked else None,
    }


def dice_record(
    target: BundleTarget, batches: Sequence[AttackedBatch], prediction: torch.Tensor, classes: int, name: str
) -> Record:
    """Dice of a prediction (S,1,spatial) and the labels on the stacked cases: their mean and per structure."""
    label, void = (
        torch.cat([getattr(batch.problem, part).cpu().flatten() for batch in batches])[None, None]
        for part in ("label", "void")
    )
    predicted = torch.cat([prediction[batch.cases].flatten() for batch in batches])[None, None].masked_fill(void, 0)
    if target.multi_label:
        pair = (MultiLabel.decode(each, classes.bit_length() - 1)[0] for each in (predicted, label))
        counts = torch.cat([overlap_counts(p[None], y[None], 2)[0] for p, y in zip(*pair)])
        numbers = range(len(counts))
    else:
        counts = overlap_counts(predicted, label, classes)[0]
        numbers = range(1, classes)
    dice = dice_of_counts(counts)
    there = dice.isfinite()
    named = {
        target.structures.get(number, f"structure {number}"): float(value) if found else None
        for number, value, found in zip(numbers, dice, there)
    }
    mean = float(dice[there].mean()) if bool(there.any()) else None
    return {f"dice_{name}": mean, f"dice_{name}_by_structure": named}


def size_record(batches: Sequence[AttackedBatch], clean: PreprocessedFile, attacked: Path, width: float) -> Record:
    """How large the perturbation is: in the network's space in units of the window, and in the attacked file."""
    change = np.abs(read_values(attacked) - clean.values())
    squares = sum(float(batch.result.norm_l2.square().sum()) for batch in batches)
    return {
        "norm_linf": max(float(batch.result.norm_linf.max()) for batch in batches) / width,
        "norm_l2": math.sqrt(squares) / width,
        "largest_change_in_file": float(change.max()),
        "changed_voxels_in_file": int((change > 0).sum()),
    }
