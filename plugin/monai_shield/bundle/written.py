# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A written label against the file it is for, by nibabel alone: nothing of what wrote it is used."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from monai_shield.networks.heads import Head

SHIFT = 0.01  # of a voxel that a corner may lie elsewhere, for rounding


def check_written(label: str | Path, image: str | Path, head: Head | None = None) -> None:
    """
    Check that a label lies where its image lies.

    Args:
        label: written NIfTI file.
        image: NIfTI file it is for.
        head: of the target: the labels of a sigmoid head may lie along a further axis, those of a softmax may not.

    Raises:
        ValueError: where its shape, the place of its voxels or the type of its values is another, naming the image.
    """
    written: Any = nib.load(label)
    file: Any = nib.load(image)
    shape = file.shape[:3]
    if written.shape[:3] != shape or (written.ndim > 3 and head == "softmax"):
        raise ValueError(f"'{image}': its label would have shape {written.shape}, not {shape}: nothing is written.")
    far = np.array(shape) - 1
    corners = np.array([[*(far * pick), 1.0] for pick in np.ndindex(2, 2, 2)])
    apart = np.abs(corners @ (written.affine - file.affine)[:3].T).max()
    # an affine is written in float32
    rounding = np.finfo(np.float32).eps * np.abs(corners @ file.affine[:3].T).max()
    if not apart <= SHIFT * np.linalg.norm(file.affine[:3, :3], axis=0).min() + 4 * rounding:
        raise ValueError(f"'{image}': its label would lie {apart:.3g} mm off: nothing is written.")
    if not np.issubdtype(written.get_data_dtype(), np.integer):
        raise ValueError(f"'{image}': its label is of type {written.get_data_dtype()}, not whole numbers.")
    values = np.asarray(written.dataobj)  # to its end
    if values.min(initial=0) < 0:
        raise ValueError(f"'{image}': its label holds negative classes: is its type too small?")
    if values.ndim > 3 and values.max(initial=0) > 1:
        raise ValueError(f"'{image}': its label has {values.shape[3]} channels that hold more than 0 and 1.")
