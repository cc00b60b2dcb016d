# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The scans that are mutated: small brains of the embedded cohort and, where they are, of real subjects."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

REPOSITORY = Path(__file__).parents[2]
LAS = np.diag([-1.0, 1.0, 1.0, 1.0])
#: Slices of a scan, and every how many voxels one is kept: a whole brain in the plane, small enough to be quick.
SLICES, EVERY, BORDER = 12, 3, 3
#: Of the embedded cohort; the bundle is calibrated on them.
SUBJECTS = (0, 500, 700, 701)
REAL = ("1000", "1001")


@dataclass(frozen=True)
class Scan:
    """A scan's name and its voxels, (H, W, D) of whole numbers, in LAS, 1 mm."""

    name: str
    values: np.ndarray


def shrunk(values: np.ndarray) -> np.ndarray:
    """A brain (H, W, D) as means of blocks of voxels, its middle slices along the second axis, background 0."""
    whole = tuple(slice(size // EVERY * EVERY) for size in values.shape)
    blocks = [n for size in values.shape for n in (size // EVERY, EVERY)]
    small = values[whole].reshape(blocks).astype(float).mean(axis=(1, 3, 5))
    middle = small.shape[1] // 2
    small = np.rint(small[:, middle - SLICES // 2 : middle + SLICES // 2])
    # a border of background: where the foreground ends beside the first voxel, rounding alone decides after resampling
    # whether that voxel belongs to it, and then where the slice lies before the networks
    border = ((BORDER, BORDER), (0, 0), (BORDER, BORDER))
    return np.pad(np.where(small < 40, 0, small), border).astype(np.int16)


def load_scans(folder: Path) -> list[Scan]:
    """The scans, kept in `folder` once they are made: those of the cohort first."""
    folder.mkdir(parents=True, exist_ok=True)
    data = Path(os.environ.get("SHIELD_DATA", REPOSITORY.parent / "shared" / "data"))
    volumes = data / "miccai2012_multiatlas" / "volumes"
    scans = []
    for number in SUBJECTS:
        file = folder / f"cohort{number}.npy"
        if not file.is_file():
            from monai_shield.data import cohort_subject

            np.save(file, shrunk(cohort_subject(number)["image"][0].numpy()))
        scans.append(Scan(file.stem, np.load(file)))
    for name in REAL:
        source = volumes / f"{name}_SS.nii.gz"
        if source.is_file():
            scans.append(Scan(f"real{name}", shrunk(np.asarray(nib.load(source).dataobj))))
    return scans


def plain_image(values: np.ndarray, affine: np.ndarray = LAS) -> nib.Nifti1Image:
    """A file that says the same in every field: sform and qform alike, as far as a qform can say it."""
    image = nib.Nifti1Image(values, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)  # sets pixdim too; shears are lost
    if not np.allclose(image.header.get_qform(), affine, atol=1e-3):
        image.header["qform_code"] = 0
    image.header.set_xyzt_units("mm")
    return image
