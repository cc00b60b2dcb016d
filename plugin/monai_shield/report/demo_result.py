# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""From the files of a demo to its numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_shield.detectors import Calibration
from monai_shield.metrics import dice_of_counts, overlap_counts


def calibration_record(detector_weights: str | Path) -> dict[str, Any]:
    """What a shield was calibrated to, read from its detector's weights."""
    calibration = Calibration(**torch.load(detector_weights, map_location="cpu", weights_only=True)["_extra_state"])
    return {
        "threshold": calibration.threshold,
        "t_fp": calibration.t_fp,
        "rule": calibration.rule,
        "slices": len(calibration.scores),
        "subjects": calibration.num_volumes,
        "subjects_needed_for_a_promise_per_subject": round(1 / calibration.t_fp) - 1,
        "volume_limit": calibration.volume_limit,
        "source": calibration.source,
    }


def scan_record(
    decision: Mapping[str, Any], positions: Sequence[float], slab: tuple[float, float], file: str
) -> dict[str, Any]:
    """
    What the shield said of one scan.

    Args:
        decision: what the shielded bundle wrote of it.
        positions: of each slice, in mm.
        slab: from where to where the slab reaches, in mm.
        file: where the scan lies, relative to the demo's folder.

    Raises:
        ValueError: where decision and positions disagree on the number of slices.
    """
    columns = (decision["slice_scores"], decision["slice_p_values"], decision["slice_rejected"])
    if any(len(column) != len(positions) for column in columns):
        raise ValueError(f"{len(columns[0])} scores for {len(positions)} slices of '{file}'.")
    slices = [
        {
            "slice": index,
            "position_mm": position,
            "score": score,
            "p_value": p_value,
            "rejected": rejected,
            "in_slab": slab[0] <= position <= slab[1],
        }
        for index, (position, score, p_value, rejected) in enumerate(zip(positions, *columns))
        if score is not None or rejected
    ]
    inside = [each for each in slices if each["in_slab"]]
    return {
        "file": file,
        "rejected": decision["rejected"],
        "score": decision["score"],
        "threshold": decision["threshold"],
        "p_value": decision["p_value"],
        "reason": decision["reason"],
        "slices_scored": decision["scored"],
        "slices_rejected": sum(each["rejected"] for each in slices),
        "slab_slices_scored": len(inside),
        "slab_slices_rejected": sum(each["rejected"] for each in inside),
        "slab_median_p_value": float(np.median([each["p_value"] for each in inside])) if inside else None,
        "slices": slices,
    }


def dice_records(
    reference: np.ndarray, answers: Mapping[str, np.ndarray], slab: np.ndarray, structures: Sequence[str]
) -> dict[str, Any]:
    """
    Dice of several answers against one, per structure on the stacked slices and their mean.

    Args:
        reference: class indices, (H, W, D): the target's own answer to the clean scan.
        answers: name to class indices of the same shape.
        slab: where the attack was, (H, W, D).
        structures: names of the classes, background left out.

    Returns:
        "slab" and "scan": the mean by answer; "structures": by name and answer, inside the slab; None where a
        structure is absent from both.
    """
    inside = slab > 0
    by_structure: dict[str, dict[str, float | None]] = {name: {} for name in structures}
    means: dict[str, dict[str, float | None]] = {"slab": {}, "scan": {}}
    for name, answer in answers.items():
        found = _dice(answer[inside], reference[inside], len(structures) + 1)
        for structure, value in zip(structures, found):
            by_structure[structure][name] = _plain(value)
        means["slab"][name] = _mean(found)
        means["scan"][name] = _mean(_dice(answer, reference, len(structures) + 1))
    return {**means, "structures": by_structure}


def _dice(answer: np.ndarray, reference: np.ndarray, classes: int) -> np.ndarray:
    first, second = (torch.from_numpy(each.reshape(1, -1).astype(np.int64)) for each in (answer, reference))
    return dice_of_counts(overlap_counts(first, second, classes))[0].numpy()


def _mean(values: np.ndarray) -> float | None:
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else None


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
