# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Mutated containers: compression, endings, other formats, and what is no regular file."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from fuzz.case import Mutant, pick
from fuzz.scans import Scan, plain_image

Maker = Callable[[np.random.Generator, nib.Nifti1Image, Path], tuple[Path, str]]


def make(random: np.random.Generator, scans: list[Scan], folder: Path) -> Mutant:
    """One container that is not what its name says, or damaged."""
    scan = scans[int(random.integers(1 << 30)) % len(scans)]
    what = pick(random, tuple(ROWS))
    file, done = ROWS[what](random, plain_image(scan.values), folder / f"c{folder.name}")
    return Mutant(what, f"{scan.name}: {done}", [file], alone=what in ALONE)


def _put(stem: Path, suffix: str, content: bytes) -> Path:
    file = stem.with_name(stem.name + suffix)
    file.write_bytes(content)
    return file


def _damaged(random: np.random.Generator, image: nib.Nifti1Image, stem: Path) -> tuple[Path, str]:
    content = bytearray(gzip.compress(image.to_bytes(), 1, mtime=0))
    how = pick(random, ("bit", "byte", "cut", "check sum", "length", "header", "hole"))
    at = int(random.integers(len(content)))
    if how == "bit":
        content[at] ^= 1 << int(random.integers(8))
    elif how == "byte":
        content[at] = int(random.integers(256))
    elif how == "cut":
        del content[pick(random, (at, len(content) - 1, len(content) - 8, 10)) :]
    elif how == "hole":
        del content[at : at + 10]
    else:
        content[{"check sum": -8, "length": -1, "header": int(random.integers(10))}[how]] ^= 255
    return _put(stem, ".nii.gz", bytes(content)), f"gzip damaged: {how} at {at}"


def _members(random: np.random.Generator, image: nib.Nifti1Image, stem: Path) -> tuple[Path, str]:
    content = image.to_bytes()
    one = gzip.compress(content, 1, mtime=0)
    half = len(content) // 2
    how = pick(
        random, ("two halves", "twice", "empty member", "garbage", "zeros", "double", "cut member", "garbage, plain")
    )
    if how == "garbage, plain":
        return _put(stem, ".nii", content + random.bytes(1000)), how
    made = {
        "two halves": gzip.compress(content[:half], 1, mtime=0) + gzip.compress(content[half:], 1, mtime=0),
        "twice": one + one,
        "empty member": gzip.compress(b"", mtime=0) + one,
        "garbage": one + random.bytes(100),
        "zeros": one + b"\0" * 1000,
        "double": gzip.compress(one, 1, mtime=0),
        "cut member": one + one[:100],
    }[how]
    return _put(stem, ".nii.gz", made), f"gzip members: {how}"


def _misnamed(random: np.random.Generator, image: nib.Nifti1Image, stem: Path) -> tuple[Path, str]:
    plain = image.to_bytes()
    packed = gzip.compress(plain, 1, mtime=0)
    suffix, content, done = pick(
        random,
        (
            (".nii", packed, "gzip named .nii"),
            (".nii.gz", plain, "plain named .nii.gz"),
            (".NII.GZ", packed, ".NII.GZ"),
            (".NII", plain, ".NII"),
            (".Nii", plain, ".Nii"),
            (".nii.GZ", packed, ".nii.GZ"),
            (".NII.gz", packed, ".NII.gz"),
            (".NII.GZ", plain, "plain named .NII.GZ"),
            (".nii.gz.nii", plain, ".nii.gz.nii"),
            (".nii.nii", plain, ".nii.nii"),
            (".nii.", plain, "a dot too many"),
            (".nii ", plain, "a space too many"),
            ("", plain, "no ending"),
            (".gz", packed, ".gz alone"),
            (".hdr", plain, ".hdr alone"),
            (".img", plain, ".img alone"),
            (".nii.bz2", bz2.compress(plain), ".nii.bz2"),
            (".nii.zst", b"\x28\xb5\x2f\xfd" + plain[:1000], ".nii.zst"),
            (".nii.bz2", plain, "plain named .nii.bz2"),
            (".nii.xz", plain, ".nii.xz"),
        ),
    )
    return _put(stem, suffix, content), done


def _pair(random: np.random.Generator, image: nib.Nifti1Image, stem: Path) -> tuple[Path, str]:
    pair = nib.Nifti1Pair(image.dataobj, image.affine, image.header)
    nib.save(pair, stem.with_suffix(".img"))
    given = stem.with_suffix(pick(random, (".hdr", ".img")))
    how = pick(random, ("both", "one missing", "voxels cut", "NIfTI header renamed"))
    other = stem.with_suffix(".img" if given.suffix == ".hdr" else ".hdr")
    if how == "one missing":
        other.unlink()
    elif how == "voxels cut":
        os.truncate(stem.with_suffix(".img"), 500)
    elif how == "NIfTI header renamed":
        renamed = stem.with_suffix(".nii")
        stem.with_suffix(".hdr").rename(renamed)
        return renamed, "the header of a pair, named .nii"
    return given, f"pair, {how}, {given.suffix} given"


def _formats(random: np.random.Generator, image: nib.Nifti1Image, stem: Path) -> tuple[Path, str]:
    kind = pick(
        random, ("analyze", "mgh", "mgz", "mgh named .nii", "png", "zip", "dicom", "text", "html", "empty", "minc")
    )
    values = np.asarray(image.dataobj)
    if kind == "analyze":
        nib.save(nib.AnalyzeImage(values, image.affine), stem.with_suffix(".img"))
        return stem.with_suffix(".img"), "Analyze"
    if kind.startswith("mg"):
        ending = ".mgz" if kind == "mgz" else ".mgh"
        file = stem.with_suffix(ending)
        nib.save(nib.MGHImage(values.astype(np.int32), image.affine), file)
        return (file if kind != "mgh named .nii" else file.rename(stem.with_suffix(".nii"))), kind
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("x.nii", image.to_bytes())
    content = {
        "png": b"\x89PNG\r\n\x1a\n" + random.bytes(500),
        "zip": packed.getvalue(),
        "dicom": b"\0" * 128 + b"DICM" + random.bytes(2000),
        "text": b"no image at all\n" * 100,
        "html": b"<html>404</html>",
        "empty": b"",
        "minc": b"\x89HDF\r\n\x1a\n" + random.bytes(500),
    }[kind]
    suffix = pick(random, (".nii", ".nii.gz", {"png": ".png", "zip": ".zip", "dicom": ".dcm"}.get(kind, ".nii")))
    return _put(stem, suffix, content), f"{kind} named {suffix}"


def _links(random: np.random.Generator, image: nib.Nifti1Image, stem: Path) -> tuple[Path, str]:
    file = stem.with_suffix(".nii")
    how = pick(
        random, ("link", "dangling", "loop", "folder", "missing", "link to a folder", "no folder", "trailing slash")
    )
    if how == "link":
        target = _put(stem, "-elsewhere", image.to_bytes())
        file.symlink_to(target)
    elif how == "dangling":
        file.symlink_to(stem.with_name("nothing.nii"))
    elif how == "loop":
        file.symlink_to(file)
    elif how == "folder":
        file.mkdir()
    elif how == "link to a folder":
        file.symlink_to(stem.parent)
    elif how == "no folder":
        file = stem.parent / "nowhere" / file.name
    elif how == "trailing slash":
        _put(stem, ".nii", image.to_bytes())
        return Path(f"{file}/."), "a file as a folder"
    return file, how


def _devices(random: np.random.Generator, image: nib.Nifti1Image, stem: Path) -> tuple[Path, str]:
    suffix = pick(random, (".nii", ".nii.gz"))
    file = stem.with_name(stem.name + suffix)
    how = pick(random, ("pipe", "/dev/zero", "/dev/null", "/dev/urandom", "/dev/full", "socket"))
    if how == "pipe":
        os.mkfifo(file)
    elif how == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as opened:
            try:
                opened.bind(str(file))
            except OSError:  # the path is too long for a socket
                os.mkfifo(file)
    else:
        file.symlink_to(how)
    return file, f"{how} as {suffix}"


def _sparse(random: np.random.Generator, image: nib.Nifti1Image, stem: Path) -> tuple[Path, str]:
    """Holes: a file of any length that takes no place."""
    file = stem.with_suffix(".nii")
    length = int(10 ** random.uniform(8, 12.5))
    how = pick(random, ("zeros alone", "after a scan", "as many voxels as it says", "more voxels than it has"))
    content = bytearray(image.to_bytes())
    if how == "zeros alone":
        content = bytearray()
    elif how != "after a scan":
        side = min(round((length / 2) ** (1 / 3)), 32767)
        content[42:48] = np.array([side] * 3, "<i2").tobytes()
        length = 352 + 2 * side**3 - (1000 if how.startswith("more") else 0)
    file.write_bytes(bytes(content))
    os.truncate(file, max(length, len(content)))
    return file, f"{length} bytes, {how}"


def _bomb(random: np.random.Generator, image: nib.Nifti1Image, stem: Path) -> tuple[Path, str]:
    """A gzip that grows: zeros behind a header, as many as it says or more."""
    content = bytearray(image.to_bytes())
    megabytes = int(10 ** random.uniform(1, 3))
    honest = random.random() < 0.5
    if honest:
        side = int((megabytes * 2**20 / 2) ** (1 / 3))
        content[42:48] = np.array([side] * 3, "<i2").tobytes()
    block = gzip.compress(b"\0" * 2**20, 6, mtime=0)
    return (
        _put(stem, ".nii.gz", gzip.compress(bytes(content), 1, mtime=0) + block * megabytes),
        f"{megabytes} MB of zeros, {'as the header says' if honest else 'behind a scan'}",
    )


#: Row of the table: what makes the file and says what it is.
ROWS: dict[str, Maker] = {
    "container: gzip damaged": _damaged,
    "container: gzip members, garbage": _members,
    "container: misnamed": _misnamed,
    "container: .hdr and .img": _pair,
    "container: other formats": _formats,
    "container: links and folders": _links,
    "container: pipes and devices": _devices,
    "container: sparse files": _sparse,
    "container: gzip bombs": _bomb,
}
ALONE = {"container: pipes and devices", "container: sparse files", "container: gzip bombs"}
