# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Mutated voxels: their number, their type, their values; the header says what they are."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from fuzz.case import Mutant, pick
from fuzz.scans import LAS, Scan, plain_image

TYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
Made = tuple[bytes, str]


def make(random: np.random.Generator, scans: list[Scan], folder: Path) -> Mutant:
    """One file with other voxels than it should have."""
    scan = scans[int(random.integers(1 << 30)) % len(scans)]
    what = pick(random, tuple(ROWS))
    content, done = ROWS[what](random, scan.values)
    suffix = pick(random, (".nii", ".nii", ".nii.gz"))
    file = folder / f"c{folder.name}{suffix}"
    if suffix == ".nii.gz":
        content = gzip.compress(content, 1, mtime=0)
    file.write_bytes(content)
    return Mutant(what, f"{scan.name}{suffix}: {done}", [file])


def _plain(values: np.ndarray, affine: np.ndarray = LAS) -> bytes:
    return plain_image(values, affine).to_bytes()


def _truncated(random: np.random.Generator, values: np.ndarray) -> Made:
    content = _plain(values)
    length = pick(random, (int(random.integers(len(content))), len(content) - 1, 348, 352, 353, 0, 1, 347))
    return content[:length], f"{length} of {len(content)} bytes"


def _flipped(random: np.random.Generator, values: np.ndarray) -> Made:
    content = bytearray(_plain(values))
    where = random.integers(352, len(content), int(random.integers(1, 20)))
    for position in where:
        content[int(position)] ^= 1 << int(random.integers(8))
    return bytes(content), f"{len(where)} bits flipped"


def _typed(random: np.random.Generator, values: np.ndarray) -> Made:
    dtype = pick(random, TYPES)
    limit = np.iinfo(dtype).max if dtype[0] in "iu" else 1e30
    high = float(values.max())
    top = pick(random, (min(limit, 100.0), min(limit, high), float(limit) * 0.99))
    scaled = (values * (top / high)).astype(dtype)
    image = nib.Nifti1Image(scaled, LAS, dtype=scaled.dtype)
    image.set_sform(LAS, code=1)
    image.set_qform(LAS, code=1)
    return image.to_bytes(), f"type {dtype}, up to {top:.4g}"


def _scaled(random: np.random.Generator, values: np.ndarray) -> Made:
    image = plain_image(values)
    slope = pick(random, (0.25, -1.0, 1e-6, 1e-30, 1e30, 1e-44, 3.0, 0.0, np.nan))
    inter = pick(random, (0.0, 0.0, -1000.0, 1e6, 1e30, np.nan, np.inf))
    header = bytearray(image.to_bytes())
    header[112:120] = np.array([slope, inter], "<f4").tobytes()
    return bytes(header), f"slope {slope}, intercept {inter}"


def _special(random: np.random.Generator, values: np.ndarray) -> Made:
    dtype = pick(random, ("f4", "f8"))
    values = values.astype(dtype)
    value = pick(random, (np.nan, np.inf, -np.inf, 1e38, -1e38, 3e39 if dtype == "f8" else 3e38, 1e300, -1e5, 1e7))
    count = pick(random, (1, 1, 10, values.size // 2))
    with np.errstate(over="ignore"):
        values.flat[random.choice(values.size, count, replace=False)] = value
    return _plain(values), f"{count} voxels of {value} in {dtype}"


def _constant(random: np.random.Generator, values: np.ndarray) -> Made:
    value = pick(random, (0, 1, -1, 7, 32767))
    other = np.full_like(values, value)
    count = pick(random, (0, 1, 2, 50))
    other.flat[random.choice(other.size, count, replace=False)] = pick(random, (1, 1000))
    return _plain(other), f"{value} but for {count} voxels"


def _negative(random: np.random.Generator, values: np.ndarray) -> Made:
    how = pick(random, ("negated", "less 1024", "less 1e9", "background -1", "window of nothing", "denormal"))
    changed = {
        "negated": -values,
        "less 1024": values - 1024,
        "less 1e9": (values - 1e9).astype(np.float64),
        "background -1": np.where(values > 0, values, -1).astype(np.int16),
        "window of nothing": (values * 1e-38).astype(np.float32),
        "denormal": (values * 1e-44).astype(np.float32),
    }[how]
    return _plain(changed), how


def _dimensions(random: np.random.Generator, values: np.ndarray) -> Made:
    shape = pick(
        random,
        (
            (*values.shape, 1),
            (*values.shape, 2),
            (*values.shape, 1, 1),
            (*values.shape, 1, 3),
            (*values.shape, 1, 1, 1, 1),
            (1, *values.shape),
            values.shape[:2],
            values.shape[:1],
            (values.shape[0], values.shape[1] * values.shape[2]),
            (values.shape[0], 1, values.shape[2]),
            (1, 1, 1),
            (2, 2, 2),
            (values.shape[0], 2, values.shape[2]),
            (values.shape[0], 0, values.shape[2]),
        ),
    )
    return _plain(np.resize(values, shape)), f"shape {shape}"


def _colors(random: np.random.Generator, values: np.ndarray) -> Made:
    kind = pick(random, ("RGB", "RGBA", "c8", "c16"))
    if kind[0] == "R":
        dtype = np.dtype([(c, "u1") for c in kind])
        return nib.Nifti1Image(np.zeros(values.shape, dtype), LAS).to_bytes(), kind
    return nib.Nifti1Image(values.astype(kind), LAS).to_bytes(), kind


def _sizes(random: np.random.Generator, values: np.ndarray) -> Made:
    """Few voxels that are large, many that are small: a small file that asks for much memory."""
    shape = [int(n) for n in np.round(2 * 10 ** random.uniform(0, (1.7, 1.2, 1.7)))]
    if random.random() < 0.4:
        shape[int(random.integers(3))] = int(random.integers(200, 1000))
    zooms = 10 ** random.uniform(-2.5, 2.5, 3)
    if random.random() < 0.6:  # as long as a head may be
        zooms = random.uniform(100, 1000, 3) / shape
    small = np.resize(values[values > 0], shape) * (random.random(shape) > 0.2)
    affine = LAS @ np.diag([*zooms, 1])
    return _plain(small.astype(np.int16), affine), f"shape {tuple(shape)}, voxels of {zooms.round(4).tolist()} mm"


def _elsewhere(random: np.random.Generator, values: np.ndarray) -> Made:
    """The same scan with other borders, or turned in the plane."""
    how = pick(random, ("padded", "cropped", "rolled", "mirrored", "flipped", "upside down"))
    changed = {
        "padded": np.pad(values, [tuple(random.integers(0, 9, 2)) for _ in range(3)]),
        "cropped": values[4:-6, 1:-1, 3:-5],
        "rolled": np.roll(values, 20, axis=0),
        "mirrored": values[::-1],
        "flipped": np.rot90(values, axes=(0, 2)),
        "upside down": values[..., ::-1],
    }[how]
    return _plain(np.ascontiguousarray(changed)), how


#: Row of the table: what makes the content of a file and says what was done.
ROWS: dict[str, Callable[[np.random.Generator, np.ndarray], Made]] = {
    "data: truncated": _truncated,
    "data: bits flipped": _flipped,
    "data: voxel types": _typed,
    "data: scaled": _scaled,
    "data: NaN, infinite, huge": _special,
    "data: constant": _constant,
    "data: negative or tiny": _negative,
    "data: dimensions": _dimensions,
    "data: colors, complex": _colors,
    "data: sizes and memory": _sizes,
    "data: other field of view": _elsewhere,
}
