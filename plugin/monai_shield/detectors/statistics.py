# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The statistics of an image and its predicted label by which one sees whether it belongs to a set of clean ones."""

import math
from itertools import combinations

import torch

from monai_shield.networks.heads import Head, head_of
from monai_shield.transforms.border import anatomical_axes, border_shares
from monai_shield.transforms.foreground import DEFAULT_FOREGROUND, Foreground

#: In the statistics' names: left to right, back to front, down to up.
AXES = "xyz"
_FEWEST = 1e-5  # a structure's share where it is missing: the logarithm of 0 is none
_FEWEST_VOXELS = 50  # of a structure whose center says anything


def predicted_label(logits: torch.Tensor, head: Head | None = None) -> torch.Tensor:
    """
    Class indices of an image's logits.

    Args:
        logits: (K, H, W[, D]).
        head: what the channels stand for; None to read it. Of a sigmoid head's labels the strongest counts where
            several overlap.

    Returns:
        (H, W[, D]), 0 for the background.
    """
    if head_of(logits[None], head) == "softmax":
        return logits.argmax(dim=0)
    strongest = logits.max(dim=0)
    return (strongest.indices + 1) * (strongest.values > 0)


def number_of_classes(channels: int, head: Head | None = None) -> int:
    """How many classes :func:`predicted_label` makes of so many channels, with the background."""
    return channels if channels > 1 and head != "sigmoid" else channels + 1


@torch.no_grad()
def subject_statistics(
    image: torch.Tensor,
    label: torch.Tensor,
    num_classes: int,
    affine: torch.Tensor,
    border: torch.Tensor | None = None,
    foreground: Foreground = DEFAULT_FOREGROUND,
) -> dict[str, float]:
    """
    What is measured of one subject, in mm and along anatomical axes: it does not depend on the order of the axes.

    With m the foreground, c its center and s its standard deviation along an axis (the spread):

    - ``volume``: of the foreground, mm³ (mm² in 2D);
    - ``spread/a``: s along axis a, mm; ``ratio/ab``: of the spreads along two axes;
    - ``asymmetry/a``: mean of ((position - c) / s)³: the sign turns with a flip;
    - ``labeled``: share of the foreground that bears a label;
    - ``size/k``: of structure k, as a share of all labeled voxels;
    - ``center/k/a``: (center of structure k - c) / s along axis a, where the structure has 50 voxels;
    - ``cut/a``: foreground at an end of axis a, see :func:`~monai_shield.transforms.border_shares`, the larger one;
    - ``border``: the smallest of all ends.

    Args:
        image: (C, H, W[, D]), scaled to its intensity window.
        label: class indices, (H, W[, D]), 0 for the background.
        num_classes: with the background.
        affine: voxel to mm of image and label.
        border: foreground at the ends of the file, (3, 2); as measured on the image where it is not known.
        foreground: which voxels are foreground.

    Returns:
        the statistics by name; empty where there is no foreground.

    Raises:
        ValueError: where image and label do not fit.
    """
    inside = foreground(image[None])[0]
    if inside.shape != label.shape:
        raise ValueError(f"a label of shape {tuple(label.shape)} for an image of shape {tuple(image.shape)}.")
    count = int(inside.sum())
    if count == 0:
        return {}
    places = anatomical_axes(affine, inside.ndim)
    found = {"volume": count * math.prod(size for *_, size in places)}
    counts = torch.bincount(label.flatten().long(), minlength=num_classes).double().cpu()
    structures = range(1, num_classes)
    found["labeled"] = max(int((inside & (label > 0)).sum()) / count, _FEWEST)
    for structure in structures:
        found[f"size/{structure}"] = max(float(counts[structure]) / max(float(counts[1:].sum()), 1.0), _FEWEST)
    ends = border_shares(inside, affine) if border is None else border
    found["border"] = float(torch.stack([ends[axis] for axis, *_ in places]).min())
    spreads: dict[str, float] = {}
    for axis, index, step in sorted((axis, index, sign * size) for index, (axis, sign, size) in enumerate(places)):
        name = AXES[axis]
        center, spreads[name], skewness = _moments(_profiles(inside, index, 2)[1], step)
        found |= {f"spread/{name}": spreads[name], f"asymmetry/{name}": skewness}
        found[f"cut/{name}"] = float(ends[axis].max())
        profiles = _profiles(label, index, num_classes)
        for structure in structures:
            if counts[structure] >= _FEWEST_VOXELS:
                mean, *_ = _moments(profiles[structure], step)
                found[f"center/{structure}/{name}"] = (mean - center) / spreads[name]
    ratios = {f"ratio/{one}{other}": spreads[one] / spreads[other] for one, other in combinations(spreads, 2)}
    return found | ratios


def _profiles(label: torch.Tensor, index: int, num_classes: int) -> torch.Tensor:
    """Number of voxels of each class in each slice along an axis, (num_classes, n), in one pass."""
    size = label.shape[index]
    shape = [size if other == index else 1 for other in range(label.ndim)]
    position = torch.arange(size, device=label.device).reshape(shape)
    joint = (label.long() * size + position).flatten()
    return torch.bincount(joint, minlength=num_classes * size).reshape(-1, size).double().cpu()


def _moments(profile: torch.Tensor, step: float) -> tuple[float, float, float]:
    """Mean and standard deviation of the position, and its skewness, of a profile of counts; voxels have a width."""
    position = step * torch.arange(len(profile), dtype=torch.float64)
    weight = profile / profile.sum()
    mean = (weight * position).sum()
    variance = (weight * (position - mean) ** 2).sum() + step**2 / 12
    skewness = (weight * (position - mean) ** 3).sum() / variance**1.5
    return float(mean), float(variance.sqrt()), float(skewness)
