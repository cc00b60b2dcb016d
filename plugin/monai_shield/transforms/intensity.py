# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The intensity window: the yardstick of every budget, and the unit in which the networks see an image."""

import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import Transform
from monai.utils import TransformBackends, convert_to_tensor

from monai_shield.transforms.each_key import EachKeyd


def intensity_window(image: torch.Tensor, percentile: float = 99.5) -> tuple[float, float]:
    """
    The window of a clean image: from 0 (or its minimum, where that is negative) to a percentile inside the foreground.

    The foreground is what lies above the background, the background being 0 or the negative minimum.

    Args:
        image: intensities of any shape.
        percentile: upper end of the window, measured over the foreground only.

    Returns:
        lower and upper end, in the image's own unit.

    Raises:
        ValueError: where the image is empty, constant, or not finite.
    """
    values = image.detach().reshape(-1)
    values = values if values.dtype == torch.float64 else values.to(torch.float32)
    if values.numel() == 0:
        raise ValueError("an empty image has no intensity window.")
    if not bool(torch.isfinite(values).all()):
        raise ValueError("an image with NaN or infinite voxels has no intensity window.")
    low = min(0.0, float(values.min()))
    foreground = values[values > low]
    if foreground.numel() == 0:
        raise ValueError("an image that is constant has no intensity window.")
    # kthvalue, not quantile: torch.quantile refuses more than 2^24 voxels.
    rank = max(1, min(foreground.numel(), round(percentile / 100 * foreground.numel())))
    return low, float(foreground.kthvalue(rank).values)


class ScaleToWindow(Transform):
    """
    Scale an image so that its intensity window (see :func:`intensity_window`) becomes 0 to 1.

    Values above the window stay above 1: nothing is clipped, so the map is affine and can be undone. The window is
    kept as ``intensity_window`` in the meta data of a MetaTensor, which is what an export needs to go back.

    Args:
        percentile: upper end of the window inside the foreground.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI's own spelling

    def __init__(self, percentile: float = 99.5) -> None:
        if not 0 < percentile <= 100:
            raise ValueError(f"percentile must be in (0, 100], got {percentile}.")
        self.percentile = percentile

    def __call__(self, img: NdarrayOrTensor) -> torch.Tensor:
        """
        Args:
            img: channel first image, (C, H, W[, D]).
        """
        image = convert_to_tensor(img, track_meta=get_track_meta(), dtype=torch.float32)
        low, high = intensity_window(image, self.percentile)
        out = (image - low) / (high - low)
        if isinstance(out, MetaTensor):
            out.meta["intensity_window"] = (low, high)
        return out


class ScaleToWindowd(EachKeyd):
    """Dictionary form of :class:`ScaleToWindow`."""

    array, held_as = ScaleToWindow, "scaler"
