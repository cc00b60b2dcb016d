# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""How much of the foreground reaches the border of the image, measured before a crop or a pad hides it."""

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from monai.utils import TransformBackends
from nibabel.orientations import io_orientation

from monai_shield.transforms.each_key import EachKeyd
from monai_shield.transforms.foreground import DEFAULT_FOREGROUND, Foreground


def anatomical_axes(affine: torch.Tensor, spatial_dims: int) -> list[tuple[int, int, float]]:
    """
    The anatomical axis that lies nearest to each axis of an array.

    Args:
        affine: voxel to mm, (n + 1, n + 1) with n >= `spatial_dims`.
        spatial_dims: number of axes of the array.

    Returns:
        for each axis of the array: the anatomical axis (0: to the right, 1: to the front, 2: up), 1 where it runs that
        way and -1 where it runs the other way, and the size of a voxel in mm.

    Raises:
        ValueError: where two axes of the array lie along the same anatomical one, or a voxel has no size.
    """
    columns = torch.cat([affine[:, :spatial_dims], affine[:, -1:]], dim=1).detach().cpu().double().numpy()
    nearest = io_orientation(columns)[:spatial_dims]
    sizes = (columns[:-1, :spatial_dims] ** 2).sum(axis=0) ** 0.5
    if np.isnan(nearest).any() or not (sizes > 0).all():
        raise ValueError("the affine gives an axis of the image no direction.")
    return [(int(axis), int(sign), float(size)) for (axis, sign), size in zip(nearest, sizes)]


def border_shares(foreground: torch.Tensor, affine: torch.Tensor) -> torch.Tensor:
    """
    The foreground in the first and the last slice along each axis, as a share of that in the fullest slice.

    A brain that lies within its file comes near to 0; one that the file cuts off comes near to 1.

    Args:
        foreground: bool, (H, W[, D]).
        affine: voxel to mm.

    Returns:
        (3, 2): for each anatomical axis (left to right, back to front, down to up) the lower and the upper end; NaN for
        an axis that the image lacks or where there is no foreground.
    """
    shares = torch.full((3, 2), torch.nan, dtype=torch.float64)
    dims = foreground.ndim
    for index, (axis, sign, _) in enumerate(anatomical_axes(affine, dims)):
        profile = foreground.sum([other for other in range(dims) if other != index]).double().cpu()
        shares[axis] = torch.stack([profile[0], profile[-1]][::sign]) / profile.max()
    return shares


class MeasureBorder(Transform):
    """
    Keep in ``meta["border"]`` how much of the foreground reaches the border, see :func:`border_shares`.

    It stands behind the scaling of intensities and before whatever crops or pads. The image itself is not changed. A
    plain tensor, which has no meta data, passes as it is.

    Args:
        foreground: which voxels are foreground.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI's own spelling

    def __init__(self, foreground: Foreground = DEFAULT_FOREGROUND) -> None:
        self.foreground = foreground

    def __call__(self, img: torch.Tensor) -> torch.Tensor:
        """
        Args:
            img: channel first image, (C, H, W[, D]).
        """
        if isinstance(img, MetaTensor):
            img.meta["border"] = border_shares(self.foreground(img[None])[0], img.affine)
        return img


class MeasureBorderd(EachKeyd):
    """Dictionary form of :class:`MeasureBorder`."""

    array, held_as = MeasureBorder, "measure"
