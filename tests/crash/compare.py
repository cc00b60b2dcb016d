# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Whether files are whole, and whether two folders hold the same results; nothing of the product is used."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import nibabel as nib
import numpy as np
import torch

#: What may differ between two runs of the same settings: when it was, how long it took, who did it.
DECLARED = {"seconds", "seconds an image", "date", "revision", "revisions", "hours of one process", "processes"}
#: Scratch of a run, nobody's result: who has taken a job, how long each took, locks.
SCRATCH = re.compile(r"(^|/)(claims/.*|diary\.csv|[^/]*\.lock)$")
#: Temporary files have names of their own.
TEMPORARY = re.compile(r"(^|/)\.")


def finals(folder: Path) -> dict[str, Path]:
    """The files under final names: relative path to path."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path for name, path in found.items() if not TEMPORARY.search(name) and not SCRATCH.search(name)}


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders that lie there."""
    found = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")))
    return [name for name in found if TEMPORARY.search(name) and not SCRATCH.search(name)]


def content(path: Path) -> Any:
    """All of a file that two runs should have in common; raises where the file is not whole."""
    for ending, read in _READERS.items():
        if path.name.endswith(ending):
            return read(path)
    raise ValueError(f"no reader for '{path.name}'")


def broken(folder: Path) -> list[str]:
    """What is wrong with the files under final names, a line each."""
    lines = []
    for name, path in finals(folder).items():
        try:
            content(path)
        except Exception as error:
            lines.append(f"{name}: cannot be read: {str(error).splitlines()[0] if str(error) else repr(error)}")
    return lines


def open_sums(folder: Path) -> list[str]:
    """Files whose sum is recorded, and is another: what reads them has to refuse them."""
    lines = []
    for sums in folder.rglob("SHA256SUMS"):
        for line in sums.read_text().splitlines():
            digest, name = line.split(maxsplit=1)
            file = sums.parent / name
            if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
                lines.append((file.relative_to(folder)).as_posix())
    return lines


def differences(found: Path, expected: Path) -> list[str]:
    """Where the results in a folder are not those in another, a line each."""
    here, there = finals(found), finals(expected)
    lines = [f"{name}: is missing" for name in there.keys() - here.keys()]
    lines += [f"{name}: should not be there" for name in here.keys() - there.keys()]
    for name in sorted(here.keys() & there.keys()):
        try:
            where = different(content(here[name]), content(there[name]))
        except Exception as error:
            where = f"cannot be read: {error}"
        if where is not None:
            lines.append(f"{name}: {where}")
    return sorted(lines)


def different(a: Any, b: Any, where: str = "") -> str | None:
    """Where two contents differ first; None where they are the same, bit for bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return f"{where}: keys {sorted(map(str, a.keys() ^ b.keys()))}"
        pairs = [(f"{where}/{key}", a[key], b[key]) for key in a]
    elif isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        if len(a) != len(b):
            return f"{where}: {len(a)} entries for {len(b)}"
        pairs = [(f"{where}/{number}", x, y) for number, (x, y) in enumerate(zip(a, b))]
    elif isinstance(a, (np.ndarray, torch.Tensor)):
        x, y = np.asarray(a), np.asarray(b)
        if x.dtype != y.dtype or x.shape != y.shape:
            return f"{where}: {x.dtype} {x.shape} for {y.dtype} {y.shape}"
        if not np.array_equal(x, y, equal_nan=x.dtype.kind in "fc"):
            return f"{where}: differs by up to {np.nanmax(np.abs(x.astype(float) - y.astype(float))):g}"
        return None
    else:
        same = a == b or (a != a and b != b)
        return None if same and type(a) is type(b) else f"{where}: {a!r} for {b!r}"
    return next((found for each in pairs if (found := different(each[1], each[2], each[0])) is not None), None)


def _text(path: Path) -> str:
    text = path.read_text()
    if text[-1:] not in ("", "\n"):
        raise ValueError("the last line has no end")
    return text


def _json(path: Path) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    return _undated(json.loads(path.read_text(), parse_constant=refuse))


def _undated(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _undated(entry) for key, entry in value.items() if key not in DECLARED}
    return [_undated(entry) for entry in value] if isinstance(value, list) else value


def _torch(path: Path) -> Any:
    return _undated(torch.load(path, map_location="cpu", weights_only=True))


def _nifti(path: Path) -> Any:
    image = nib.load(path)
    affine = np.asarray(image.affine)  # type: ignore[attr-defined]
    return {"voxels": np.asarray(image.dataobj), "affine": affine, "type": str(image.get_data_dtype())}  # type: ignore[attr-defined]


def _csv(path: Path) -> Any:
    rows = list(csv.DictReader(_text(path).splitlines()))
    if any(None in row or None in row.values() for row in rows):
        raise ValueError("a row has another number of cells than the header")
    return [{key: value for key, value in row.items() if key not in DECLARED} for row in rows]


def _markdown(path: Path) -> Any:
    """The lines, without the columns that are declared."""
    lines, dropped = [], set[int]()
    for line in _text(path).splitlines():
        cells = line.split("|")
        if not line.startswith("|"):
            dropped = set()
        elif not dropped:
            dropped = {place for place, cell in enumerate(cells) if cell.strip() in DECLARED}
        lines.append([cell.strip() for place, cell in enumerate(cells) if place not in dropped])
    return lines


def _npz(path: Path) -> Any:
    with np.load(path) as arrays:
        return dict(arrays)


def _sums(path: Path) -> Any:
    """Only the names: :func:`open_sums` compares the sums with the files."""
    lines = [line.split(maxsplit=1) for line in _text(path).splitlines()]
    if any(len(line) != 2 or len(line[0]) != 64 for line in lines):
        raise ValueError("no line of a sum and a name")
    return sorted(name for _, name in lines)


_READERS: dict[str, Callable[[Path], Any]] = {
    ".json": _json,
    ".pt": _torch,
    ".checkpoint": _torch,
    ".nii": _nifti,
    ".nii.gz": _nifti,
    ".csv": _csv,
    ".md": _markdown,
    ".npz": _npz,
    ".png": matplotlib.image.imread,
    "SHA256SUMS": _sums,
}
