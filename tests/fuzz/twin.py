# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The same scan in a plain file, and whether two answers are the same."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fuzz.oracle import Verdict, wrong
from fuzz.scans import plain_image

#: Share of the labeled voxels that must be the same in a file and its plain twin; the rest is rounding, which counts
#: for more where the voxels are no millimeters and the image is resampled.
AGREEMENT, RESAMPLED = 0.99, 0.95
#: Twins of an image that is resampled. Where MONAI lays the new grid hangs on the last digit of an affine
#: (``compute_shape_offset`` takes a corner for the origin only where it is the smallest to 1e-8, else the middle; MONAI
#: 1.6.1, monai/data/utils.py): any of them is fair.
VARIANTS = 5


def twin_of(file: Path, variant: int = 0) -> nib.Nifti1Image:
    """
    What nibabel reads of a file, in float32, its axes nearest to RAS, in a header that says it plainly.

    Args:
        file: any image that nibabel reads.
        variant: 1 has a qform alone, higher ones an affine that differs in the last digits.
    """
    image = nib.load(file)
    values = np.asarray(image.dataobj)
    with np.errstate(over="ignore"):
        values = values.reshape(image.shape[:3]).astype(np.float32)
    turned = nib.as_closest_canonical(nib.Nifti1Image(values, image.affine))
    affine = turned.affine.copy()
    if variant > 1:
        affine[:3, :3] *= 1 + 3e-7 * np.random.default_rng(variant).uniform(-1, 1, (3, 3))
    twin = plain_image(np.asarray(turned.dataobj), affine)
    if variant == 1 and twin.header["qform_code"] > 0:
        twin.set_sform(None, code=0)  # a rotation, exactly
        twin = nib.Nifti1Image(twin.dataobj, twin.header.get_qform(), twin.header)
        twin.header["sform_code"] = 0
    return twin


def resampled(affine: np.ndarray) -> bool:
    """Whether voxels are no millimeters."""
    return not np.allclose(np.linalg.norm(affine[:3, :3], axis=0), 1, atol=1e-4)


def key_of(image: nib.Nifti1Image) -> str:
    """Equal for equal voxels in equal places."""
    digest = hashlib.sha256(repr((int(image.header["sform_code"]), int(image.header["qform_code"]))).encode())
    digest.update(np.ascontiguousarray(image.dataobj).tobytes())
    digest.update(repr((image.shape, image.affine.astype(np.float32).tolist())).encode())
    return digest.hexdigest()


def mapped(label: nib.Nifti1Image, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """A label's values at the voxels of another grid, nearest neighbor, 0 outside."""
    to_label = np.linalg.inv(label.affine) @ affine
    grid = np.stack(np.meshgrid(*map(np.arange, shape), np.ones(1), indexing="ij"), axis=-1)[..., 0, :]
    index = np.rint(grid @ to_label.T)[..., :3].astype(int)
    inside = ((index >= 0) & (index < label.shape)).all(axis=-1)
    index[~inside] = 0
    return np.where(inside, np.asarray(label.dataobj)[tuple(np.moveaxis(index, -1, 0))], 0)


def compare(file: Path, verdict: Verdict, twin: Verdict) -> Verdict:
    """
    Whether the answer to a file is that to its plain twin.

    Args:
        file: the file.
        verdict: on it, with a label.
        twin: on the twin, with a label where it has one.
    """
    reason = verdict.reason
    if twin.label is None or twin.outcome == "wrong":
        why = f"{verdict.record['status']}, but in a plain file: {twin.outcome} ({twin.why or twin.reason})"
        return wrong(why, reason, verdict.label)
    if verdict.outcome != twin.outcome and not _near(verdict.record, twin.record):
        return wrong(f"{verdict.outcome}, but {twin.outcome} in a plain file", reason, verdict.label)
    image, label = nib.load(file), nib.load(verdict.label)
    expected = mapped(nib.load(twin.label), image.shape[:3], image.affine)
    found = np.asarray(label.dataobj)
    labeled = (found != 0) | (expected != 0)
    if not labeled.any():
        return verdict
    least = RESAMPLED if resampled(image.affine) else AGREEMENT
    agreement = float((found == expected)[labeled].mean())
    # a slice emptied here and not there: fair only where its score lies on the threshold, which both then show
    if agreement <= least and _near(verdict.record, twin.record, slices=True):
        both = (found != 0) & (expected != 0)
        agreement = float((found == expected)[both].mean()) if both.any() else 1.0
    if agreement > least:
        return verdict
    return wrong(f"agreement with the label of the plain file {agreement:.3f}", reason, verdict.label)


def _near(one: dict[str, Any], other: dict[str, Any], slices: bool = False) -> bool:
    """Whether two decisions have the same scores, of which one lies so near the threshold that either is fair."""
    first, second = (
        [np.nan if score is None else score for score in record.get("slice_scores", [])] for record in (one, other)
    )
    if len(first) != len(second) or not first:
        return False
    same = np.allclose(sorted(first), sorted(second), rtol=1e-2, atol=1e-2, equal_nan=True)
    flips = one.get("slice_rejected") != other.get("slice_rejected")
    return bool(same and (flips or not slices))
