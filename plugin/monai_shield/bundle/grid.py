# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Where voxels lie: from the grid of one image to that of another."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage, SpatialResample

from monai_shield.data import StandardNibabelReader


def load_grid(file: str | Path) -> MetaTensor:
    """The voxels of a file, (C,spatial), where nibabel says that they lie: it writes what is compared with them."""
    return LoadImage(StandardNibabelReader(), image_only=True, ensure_channel_first=True)(str(file))


def on_grid(label: torch.Tensor, there: MetaTensor, here: MetaTensor) -> torch.Tensor:
    """Classes (1,spatial) on the grid of one image (C,spatial) as they lie on that of another, by the nearest voxel, 0
    outside; int64."""
    plain = label.as_subclass(torch.Tensor).float()  # type: ignore[arg-type]
    source = MetaTensor(plain, affine=there.affine)
    resample = SpatialResample(mode="nearest", padding_mode="zeros")
    placed: Any = resample(source, dst_affine=here.affine, spatial_size=here.shape[1:])
    return placed.as_tensor().round().long()


def world_axis(image: MetaTensor, axis: int | None) -> int:
    """Axis of the world (0 to 2) that a spatial axis of an image lies along; the third where it is None."""
    if axis is None:
        return 2
    return int(np.abs(np.asarray(image.affine, dtype=np.float64)[:3, axis]).argmax())
