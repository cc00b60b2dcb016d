# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""From the network's space back into the file: what an attacker can really hand over."""

from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor

from monai_shield.transforms.nifti import load_nifti, write_like
from monai_shield.transforms.preprocessed import PreprocessedFile

BACKGROUND_SHARE = 0.25


def border_background(values: np.ndarray) -> float | None:
    """
    The value of what lies around the foreground, where it was never measured: 0 around a stripped brain, the padding
    around a CT's field of view.

    Measured intensities have noise, a value that was filled in has not: the background is the most common value on the
    outer faces of the volume where at least a quarter of them has it.

    Args:
        values: voxels of a file, (H, W[, D[, C]]).

    Returns:
        the value; None where there is no such.
    """
    axes = [axis for axis in range(min(values.ndim, 3)) if values.shape[axis] > 1]
    faces = np.concatenate([np.take(values, [0, -1], axis).ravel() for axis in axes])
    found, counts = np.unique(faces, return_counts=True)
    return float(found[counts.argmax()]) if counts.max() >= BACKGROUND_SHARE * faces.size else None


def export_attack(
    perturbation: torch.Tensor,
    clean: PreprocessedFile,
    path: str | Path,
    background: float | str | None = "border",
) -> MetaTensor:
    """
    Write an attacked volume and read it back. The perturbation is taken back to the file, added to the clean file's own
    voxels and rounded to the file's type. The background is restored, which costs an attacker nothing.

    A voxel beyond the range to which the preprocessing clips (bone, in a window for soft tissue) is first brought to
    the end of the range, if the perturbation points inside and does not round to nothing; otherwise it stays as it is.

    Args:
        perturbation: adversarial minus clean image, (C, H, W[, D]), in the space and unit of the network.
        clean: the clean file, and how it was preprocessed.
        path: file to write.
        background: value of the voxels that are restored; "border" for that of :func:`border_background`, None for no
            restoring.

    Returns:
        what the preprocessing makes of the written file, (C, H, W[, D]).
    """
    change = clean.perturbation_in_file(perturbation)
    values = clean.values()
    change = change.reshape(values.shape)
    low, high = clean.clip_range()
    least = _least_change(clean.file, low, high)
    enters = ((values > high) & (change < -least)) | ((values < low) & (change > least))
    stays = ((values > high) | (values < low)) & ~enters
    attacked = np.where(enters, np.clip(values, low, high), values) + np.where(stays, 0, change)
    if background == "border":
        background = border_background(values)
    if background is not None:
        attacked[values == background] = background
    write_like(attacked, clean.file, path)
    return clean.read_back(path)


def _least_change(file: str | Path, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The least change of a voxel that counts: half a unit of the type, or of a float a millionth of the range."""
    image = load_nifti(file)
    if np.issubdtype(image.get_data_dtype(), np.integer):
        return np.full_like(low, 0.5 * abs(image.dataobj.slope))
    return np.where(np.isfinite(high - low), 1e-6 * (high - low), 0)
