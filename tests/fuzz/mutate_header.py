# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Mutated headers: one field, two, a class of fields, or bytes; the voxels stay what they are."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fuzz.case import Mutant, pick
from fuzz.mutate_affine import PLACES, geometry, mutate_place, place
from fuzz.scans import Scan

#: Fields that come in groups: (row of the table, fields).
GROUPS = {
    "header: dim": ("dim",),
    "header: scl_slope and scl_inter": ("scl_slope", "scl_inter"),
    "header: datatype and bitpix": ("datatype", "bitpix"),
    "header: magic, sizeof_hdr": ("magic", "sizeof_hdr"),
    "header: vox_offset": ("vox_offset",),
    "header: xyzt_units": ("xyzt_units", "pixdim"),
    "header: intent, slices, display": (
        "intent_code",
        "intent_p1",
        "intent_name",
        "slice_code",
        "slice_start",
        "slice_end",
        "slice_duration",
        "toffset",
        "cal_min",
        "cal_max",
        "dim_info",
        "aux_file",
        "descrip",
    ),
}
ROWS = ("header: one field", "header: two fields", "header: random bytes", "header: extension", *GROUPS)


def make(random: np.random.Generator, scans: list[Scan], folder: Path) -> Mutant:
    """One mutated header, in a file of a scan that lies one way or another."""
    scan = scans[int(random.integers(1 << 30)) % len(scans)]
    style = pick(random, PLACES)
    kind = nib.Nifti2Header if random.random() < 0.15 else nib.Nifti1Header
    values, affine, lies = geometry(random, scan.values)
    header = kind(endianness=">" if random.random() < 0.1 else "<")
    header.set_data_dtype(np.int16)
    header.set_data_shape(values.shape)
    header.set_xyzt_units("mm")
    header["magic"] = b"n+1" if kind is nib.Nifti1Header else header["magic"]
    header["vox_offset"] = len(header.binaryblock) + 4
    header["scl_slope"], header["scl_inter"] = 1, 0
    place(header, affine, style)
    extension, raw = b"\0" * 4, b""
    if random.random() < 0.45:
        what, done = "header: codes and affines", mutate_place(random, header)
    else:
        what = str(random.choice(ROWS, p=[0.3, 0.25, 0.05, 0.05, *[0.35 / len(GROUPS)] * len(GROUPS)]))
        if what == "header: random bytes":
            raw, done = random_bytes(random, header.binaryblock)
        elif what == "header: extension":
            extension, done = extensions(random)
        else:
            count = 2 if what == "header: two fields" else 1
            names = GROUPS.get(what, header.structarr.dtype.names)
            done = ", ".join(mutate_field(random, header, str(random.choice(names))) for _ in range(count))
    content = (raw or header.binaryblock) + extension
    content += values.astype(header.endianness + "i2").tobytes(order="F")
    suffix = pick(random, (".nii", ".nii", ".nii.gz"))
    file = folder / f"c{folder.name}{suffix}"
    file.write_bytes(gzip.compress(content, 1, mtime=0) if suffix == ".nii.gz" else content)
    detail = f"{scan.name}, {kind.__name__.removesuffix('Header')}{header.endianness}{suffix}, {lies}, {style}: {done}"
    return Mutant(what, detail, [file])


def mutate_field(random: np.random.Generator, header: Any, name: str) -> str:
    """Change one number of a field, whatever it is; says which, and to what."""
    array = header.structarr[name]
    index: Any = ()
    if array.shape:
        index = (int(random.integers(array.shape[0])),)
        name += str(list(index))
    how, value = changed(random, array[index])
    array[index] = value
    return f"{name} {how} ({array[index]!r})"


def changed(random: np.random.Generator, old: Any) -> tuple[str, Any]:
    """Another value of the same type, and in words what it is."""
    dtype = np.asarray(old).dtype
    if dtype.kind == "S":
        size = dtype.itemsize
        return pick(
            random,
            (
                ("empty", b""),
                ("random bytes", random.bytes(size)),
                ("another case", bytes(old).swapcase()),
                ("the pair's", b"ni1"),
                ("the other kind's", b"n+2"),
                ("full", b"x" * size),
            ),
        )
    bits = np.frombuffer(random.bytes(dtype.itemsize), dtype)[0]
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        number = int(old)
        choices: list[tuple[str, Any]] = [
            ("zero", 0),
            ("one", 1),
            ("negative", -1),
            ("largest", limits.max),
            ("smallest", limits.min),
            ("random bits", bits),
            ("one more", number + 1),
            ("one less", number - 1),
            ("twice", number * 2),
            ("negated", -number),
            ("small", int(random.integers(0, 12))),
            ("byte-swapped", np.asarray(old).byteswap().item()),
        ]
        how, value = pick(random, choices)
        return how, np.asarray(int(value) & (2 ** (8 * dtype.itemsize) - 1)).astype(f"u{dtype.itemsize}").view(
            f"{dtype.kind}{dtype.itemsize}"
        )
    small = float(10.0 ** random.uniform(-7, -0.3)) * pick(random, (-1, 1))
    limit = np.finfo(dtype)
    return pick(
        random,
        (
            ("zero", 0.0),
            ("one", 1.0),
            ("negative", -1.0),
            ("largest", limit.max),
            ("smallest", limit.tiny),
            ("NaN", np.nan),
            ("infinite", np.inf),
            ("minus infinite", -np.inf),
            ("random bits", bits),
            ("negated", -old),
            (f"{small:+.1e} of it more", old * (1 + small)),
            (f"{small:+.1e} more", old + small),
            ("off by one", old + 1),
            ("a hundred times", old * 100),
            ("a thousandth", old / 1000),
            ("huge", 1e30),
        ),
    )


def random_bytes(random: np.random.Generator, block: bytes) -> tuple[bytes, str]:
    """One to four bytes of the header at random."""
    content = bytearray(block)
    where = random.integers(0, len(content), int(random.integers(1, 5)))
    for position in where:
        content[int(position)] = int(random.integers(256))
    return bytes(content), f"bytes at {sorted(int(w) for w in where)}"


def extensions(random: np.random.Generator) -> tuple[bytes, str]:
    """An extension that is announced, where the voxels lie or with a size that cannot be."""
    size = pick(random, (0, 1, 7, 8, 16, 32, -16, 2**31 - 1, 1 << 20))
    code = int(random.integers(-2, 50))
    filler = random.bytes(max(0, min(size, 64) - 8)) if random.random() < 0.5 else b""
    content = bytes([1, 0, 0, 0]) + np.array([size, code], "<i4").tobytes() + filler
    if random.random() < 0.3:
        content = bytes([int(random.integers(256)) for _ in range(4)])
    return content, f"{len(content)} bytes of extension, esize {size}, in front of the voxels"
