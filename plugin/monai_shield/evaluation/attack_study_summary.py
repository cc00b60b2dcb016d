# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""From the cells of a study of attacks to its numbers and its table."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from monai_shield.evaluation.slice_evaluation import Cell
from monai_shield.evaluation.summary import stacked_dice
from monai_shield.evaluation.tables import markdown_table, number
from monai_shield.metrics import subject_bootstrap

#: An attack succeeded on an image when no more than this share of its structure pixels is as before.
SUCCESS = 0.01


def attack_study_summary(results: Mapping[str, Mapping[str, Cell]], resamples: int = 1000) -> dict[str, Any]:
    """
    What an :class:`~monai_shield.evaluation.AttackStudy` found, in plain JSON types.

    Args:
        results: of its run.
        resamples: bootstrap draws over subjects, for 95 % intervals.
    """
    volumes = list(results)
    subjects = [results[volume]["clean"]["subject"] for volume in volumes]
    names = [name for name in results[volumes[0]] if name != "clean"]

    def dice(name: str) -> dict[str, float]:
        counts = torch.stack([results[volume][name]["counts"].sum(0) for volume in volumes])
        return _interval(lambda chosen: float(np.nanmean(stacked_dice(counts[chosen]))), subjects, resamples)

    attacks = {}
    for name in names:
        cells = [results[volume][name] for volume in volumes]
        bears = torch.cat([cell["attacked"] for cell in cells]).numpy() > 0
        owner = np.repeat(subjects, [len(cell["attacked"]) for cell in cells])[bears].tolist()
        left = torch.cat([cell["remaining"] for cell in cells]).numpy()[bears]
        attacks[name] = {
            "flipped": _interval(partial(_flipped, left), owner, resamples),
            "success": _interval(partial(_succeeded, left), owner, resamples),
            "dice": dice(name),
            **{
                key: float(np.median(torch.cat([cell[key] for cell in cells]).numpy()))
                for key in ("norm_linf", "norm_l2", "steps")
            },
            "seconds": sum(cell["seconds"] for cell in cells) / len(bears),
        }
    return {
        "volumes": len(volumes),
        "subjects": len(set(subjects)),
        "slices": sum(len(results[volume]["clean"]["counts"]) for volume in volumes),
        "clean": {"dice": dice("clean")},
        "attacks": attacks,
    }


def attack_study_table(summary: Mapping[str, Any]) -> str:
    """One row an attack: flipped structure pixels, images on which it succeeded, Dice left, with 95 % intervals."""
    header = ["attack", "flipped pixels, %", "images, %", "Dice", "L∞, /255", "L2", "steps", "seconds an image"]
    clean = ["none", "0", "0", number(summary["clean"]["dice"], 2), "0", "0", "0", "0"]
    rows = [
        [
            name,
            number(row["flipped"], 1, 100),
            number(row["success"], 0, 100),
            number(row["dice"], 2),
            f"{255 * row['norm_linf']:.1f}",
            f"{row['norm_l2']:.2f}",
            f"{row['steps']:.0f}",
            f"{row['seconds']:.1f}",
        ]
        for name, row in summary["attacks"].items()
    ]
    return markdown_table(header, [clean, *rows])


def _flipped(left: np.ndarray, chosen: np.ndarray) -> float:
    return 1 - float(left[chosen].mean())


def _succeeded(left: np.ndarray, chosen: np.ndarray) -> float:
    return float((left[chosen] <= SUCCESS).mean())


def _interval(statistic: Callable[[np.ndarray], float], subjects: Sequence[str], resamples: int) -> dict[str, float]:
    low, high = subject_bootstrap(statistic, subjects, resamples)
    return {"value": statistic(np.arange(len(subjects))), "low": low, "high": high}
