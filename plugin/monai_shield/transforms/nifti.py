# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Voxels from NIfTI files and into them."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from monai_shield.utils import atomic_path, first_line


def read_values(file: str | Path) -> np.ndarray:
    """The voxels of a NIfTI file, slope applied, float64, in its own shape."""
    return np.asarray(load_nifti(file).dataobj, dtype=np.float64)


def load_nifti(file: str | Path) -> Any:
    """
    A NIfTI file as nibabel reads it.

    Raises:
        ValueError: where it is another kind of file.
    """
    try:
        return nib.load(file)
    except nib.filebasedimages.ImageFileError as error:
        raise ValueError(f"'{file}' is no NIfTI file: {first_line(error)}") from error


def write_nifti(values: np.ndarray, space: np.ndarray | torch.Tensor | str | Path, path: str | Path) -> None:
    """
    Write a scan or a label, whole or not at all.

    Args:
        values: voxels in the type of the file, (H, W[, D[, C]]).
        space: affine from voxels to mm, (4, 4), or a NIfTI file that has it.
        path: file to write.
    """
    affine = load_nifti(space).affine if isinstance(space, str | Path) else np.asarray(space, dtype=np.float64)
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def write_like(values: np.ndarray, reference: str | Path, path: str | Path) -> None:
    """
    Write voxels as another file has them: its data type, slope, affine and header; rounded and clipped to its type.

    Args:
        values: real voxel values (slope applied), in the space of the file.
        reference: NIfTI file to write like.
        path: file to write, whole or not at all.

    Raises:
        ValueError: where the shapes disagree.
    """
    image = load_nifti(reference)
    if values.shape != image.shape:
        raise ValueError(f"values of shape {values.shape} for '{reference}' of shape {image.shape}.")
    slope, inter = image.dataobj.slope, image.dataobj.inter
    raw = (values.astype(np.float64) - inter) / slope
    dtype = image.get_data_dtype()
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        raw = np.clip(np.rint(raw), limits.min, limits.max)
    out = type(image)(raw.astype(dtype), image.affine, image.header)
    # With the slope set nibabel writes the numbers as they are; left unset it would scale them anew.
    out.header.set_slope_inter(slope, inter)
    with atomic_path(path) as temporary:
        nib.save(out, temporary)
