# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""How a scan lies in its file, and what is done to sform, qform, their codes and pixdim."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np

from fuzz.case import pick
from fuzz.scans import LAS

#: What a header says of its place: both forms, or one of them with or without a trace of the other.
PLACES = (
    "both forms",
    "sform, no quaternion",
    "sform, quaternion",
    "qform",
    "sform 2, qform 1",
    "sform 4, no quaternion",
)


def geometry(random: np.random.Generator, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """The voxels (H, W, D) of an LAS scan as they lie in another file, the affine of it, and in words which."""
    image = nib.Nifti1Image(values, LAS.copy())
    codes = pick(random, ("LAS", "LAS", "LAS", "RAS", "LPS", "RPI", "SLA", "PIR"))
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("LAS"), nib.orientations.axcodes2ornt(codes))
    image = image.as_reoriented(turn)
    affine = image.affine.copy()
    lies = codes
    if random.random() < 0.2:
        zooms = random.uniform(0.8, 1.2, 3)
        affine[:3, :3] = affine[:3, :3] * zooms
        lies += f", voxels of {zooms.round(2).tolist()} mm"
    if random.random() < 0.2:
        angles = random.uniform(-0.4, 0.4, 3)
        affine[:3, :3] = nib.eulerangles.euler2mat(*angles) @ affine[:3, :3]
        lies += ", oblique"
    if random.random() < 0.5:
        affine[:3, 3] += random.uniform(-120, 120, 3)
    return np.asarray(image.dataobj), affine, lies


def place(header: Any, affine: np.ndarray, style: str) -> None:
    """Write an affine into a header, see `PLACES`."""
    if style in ("both forms", "sform 2, qform 1", "sform, quaternion", "qform"):
        header.set_qform(affine, code=1)
    else:
        header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    header.set_sform(affine, code=1)
    if style == "qform":
        header.set_sform(np.zeros((4, 4)), code=0)
    elif style == "sform 2, qform 1":
        header["sform_code"] = 2
    elif style == "sform 4, no quaternion":
        header["sform_code"] = 4
    elif style == "sform, quaternion":
        header["qform_code"] = 0


def mutate_place(random: np.random.Generator, header: Any) -> str:
    """One to three changes of codes, sform, quaternion, offsets and pixdim; says which."""
    changes = [_codes, _codes, _scale, _shear, _flip, _permute, _offset, _quaternion, _pixdim, _pixdim, _qfac, _form]
    return ", ".join(pick(random, changes)(random, header) for _ in range(int(random.integers(1, 4))))


def _codes(random: np.random.Generator, header: Any) -> str:
    name = pick(random, ("sform_code", "qform_code"))
    header[name] = pick(random, (0, 0, 1, 2, 3, 4, 5, -1, 255, 32767))
    return f"{name} {int(header[name])}"


def _sform(header: Any) -> np.ndarray:
    return np.array([header[f"srow_{row}"] for row in "xyz"], dtype=np.float64)


def _set_sform(header: Any, rows: np.ndarray) -> None:
    for row, values in zip("xyz", rows):
        header[f"srow_{row}"] = values


def _scale(random: np.random.Generator, header: Any) -> str:
    factor = 1 + pick(random, (-1, 1)) * float(10 ** random.uniform(-5, 0)) * 0.999
    rows = _sform(header)
    column = int(random.integers(4))
    rows[:, slice(3) if column == 3 else column] *= factor
    _set_sform(header, rows)
    return f"sform column {'all' if column == 3 else column} by {factor:.6g}"


def _shear(random: np.random.Generator, header: Any) -> str:
    amount = float(10 ** random.uniform(-4, 0))
    rows = _sform(header)
    one, other = random.choice(3, 2, replace=False)
    rows[:, one] += amount * rows[:, other]
    _set_sform(header, rows)
    return f"sform sheared by {amount:.2g}"


def _flip(random: np.random.Generator, header: Any) -> str:
    rows, column = _sform(header), int(random.integers(3))
    rows[:, column] *= -1
    _set_sform(header, rows)
    return f"sform column {column} flipped"


def _permute(random: np.random.Generator, header: Any) -> str:
    order = random.permutation(3)
    rows = _sform(header)
    rows[:, :3] = rows[:, order]
    _set_sform(header, rows)
    return f"sform columns {order.tolist()}"


def _offset(random: np.random.Generator, header: Any) -> str:
    amount = pick(random, (1e30, -1e30, 1e7, 1e4, np.nan, np.inf, 0.5, 300.0))
    axis = int(random.integers(3))
    if random.random() < 0.5:
        header[f"srow_{'xyz'[axis]}"][3] = amount
        return f"srow_{'xyz'[axis]}[3] {amount}"
    header[f"qoffset_{'xyz'[axis]}"] = amount
    return f"qoffset_{'xyz'[axis]} {amount}"


def _quaternion(random: np.random.Generator, header: Any) -> str:
    name = f"quatern_{pick(random, 'bcd')}"
    header[name] = pick(random, (0, 1, -1, 0.7071, 1e-4, 2, np.nan, float(random.uniform(-1, 1))))
    return f"{name} {float(header[name]):.4g}"


def _pixdim(random: np.random.Generator, header: Any) -> str:
    axis = int(random.integers(1, 4))
    small = pick(random, (-1, 1)) * float(10 ** random.uniform(-6, -0.5))
    before = float(header["pixdim"][axis])
    header["pixdim"][axis] = pick(
        random, (before * (1 + small), before * (1 + small), before * 100, 0, -before, 1, 1e-6)
    )
    return f"pixdim[{axis}] {before:.6g} to {float(header['pixdim'][axis]):.6g}"


def _qfac(random: np.random.Generator, header: Any) -> str:
    header["pixdim"][0] = pick(random, (0, 1, -1, 2, -0.5, np.nan))
    return f"qfac {float(header['pixdim'][0])}"


def _form(random: np.random.Generator, header: Any) -> str:
    """All of a form gone."""
    if random.random() < 0.5:
        _set_sform(header, np.zeros((3, 4)))
        return "sform zero"
    for name in ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"):
        header[name] = 0
    return "quaternion and offsets zero"
