# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a transform did to the intensities of an image, found from the image before and after it."""

import math
from dataclasses import dataclass

import torch

TOLERANCE = 1e-4  # of the range of the values that were fitted
SAMPLE = 1_000_000  # voxels a line is fitted to; all of them are checked against it
CHUNK = 1 << 24  # voxels that are in memory as float64

#: Scale, offset, lower and upper end of one channel, and which of its voxels (N,) the line does not reach.
_Line = tuple[float, float, float, float, torch.Tensor]


@dataclass(frozen=True)
class AffineIntensity:
    """
    What a transform did to the intensities of one image: out = scale · in + offset, a line for each channel, clipped.

    Args:
        scale: (C,), float64.
        offset: (C,), float64.
        low: input at which the output is clipped from below, (C,); -inf where it is not.
        high: input at which the output is clipped from above, (C,); inf where it is not.
        lost: voxels that the line does not reach, such as a background that stays 0, (C,spatial); None for none.
    """

    scale: torch.Tensor
    offset: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    lost: torch.Tensor | None = None


def fit_affine_intensity(before: torch.Tensor, after: torch.Tensor) -> AffineIntensity | None:
    """
    The line for each channel that takes an image to what a transform made of it.

    First through all voxels; failing that, without those whose output is the least, the greatest, the most common or 0,
    where the values of a clipped, masked or background voxel pile up. All others have to lie on the line to within
    1e-4 of their range. A channel that is constant has no line: all of its voxels are lost.

    Args:
        before: (C,spatial).
        after: (C,spatial).

    Returns:
        the map; None where no line fits.
    """
    lines = [_fit_channel(u.flatten(), v.flatten()) for u, v in zip(before, after)]
    found = [line for line in lines if line is not None]
    if len(found) < len(lines):
        return None
    *numbers, lost = zip(*found)
    scale, offset, low, high = (torch.tensor(each, dtype=torch.float64) for each in numbers)
    voxels = torch.stack(lost).reshape(before.shape)
    return AffineIntensity(scale, offset, low, high, voxels if bool(voxels.any()) else None)


def _fit_channel(before: torch.Tensor, after: torch.Tensor) -> _Line | None:
    """The line of one channel, voxels (N,)."""
    stride = max(1, len(before) // SAMPLE)
    u, v = before[::stride].double(), after[::stride].double()
    if bool(before.max() == before.min()):
        return 1.0, 0.0, -math.inf, math.inf, torch.ones_like(before, dtype=torch.bool)
    least, greatest = float(after.min()), float(after.max())
    piles = torch.tensor([least, greatest, float(v.mode().values), 0.0], dtype=torch.float64)
    aside = torch.isin(v, piles)
    for kept, apart in ((torch.ones_like(aside), piles[:0]), (~aside, piles)):
        line = _least_squares(u[kept], v[kept])
        if line is not None:
            checked = _check(before, after, *line, least, greatest, apart)
            if checked is not None:
                return checked
    return None


def _least_squares(u: torch.Tensor, v: torch.Tensor) -> tuple[float, float, float] | None:
    """Slope, offset and tolerance; None where the voxels have one value only."""
    if len(u) == 0 or bool(u.max() == u.min()) or bool(v.max() == v.min()):
        return None
    center, level = u.mean(), v.mean()
    scale = ((u - center) * (v - level)).mean() / (u - center).square().mean()
    if not bool(scale.isfinite()) or scale == 0:
        return None
    return float(scale), float(level - scale * center), TOLERANCE * float(v.max() - v.min())


def _check(
    before: torch.Tensor,
    after: torch.Tensor,
    scale: float,
    offset: float,
    tolerance: float,
    least: float,
    greatest: float,
    piles: torch.Tensor,
) -> _Line | None:
    """The line, with its clipping and what it does not reach; None where a voxel lies off it that may not."""
    lost = torch.zeros_like(before, dtype=torch.bool)
    clipped_below = clipped_above = False
    for start in range(0, len(before), CHUNK):
        u, v = before[start : start + CHUNK].double(), after[start : start + CHUNK].double()
        expected = scale * u + offset
        below = (v == least) & (expected < v - tolerance)
        above = (v == greatest) & (expected > v + tolerance)
        off = ((expected - v).abs() > tolerance) & ~below & ~above
        if not bool(torch.isin(v[off], piles).all()):
            return None
        lost[start : start + CHUNK] = off
        clipped_below |= bool(below.any())
        clipped_above |= bool(above.any())
    ends = [
        (least - offset) / scale if clipped_below else -math.copysign(math.inf, scale),
        (greatest - offset) / scale if clipped_above else math.copysign(math.inf, scale),
    ]
    return scale, offset, min(ends), max(ends), lost
