# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What an outcome is worth, told from files alone: nibabel, numpy and json, and nothing of what is judged."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fuzz.answer import Answer, listing

OUTCOMES = ("refused", "rejected", "right", "wrong")
LONGEST_REASON = 300
#: A rejection says everything that was found.
LONGEST_LIST = 1000
#: What says nothing to whom it is shown: other libraries' words, advice of theirs, numbers nobody can read.
UNCLEAR = re.compile(
    r"Traceback|[Pp]lease|object at 0x|Error\(|^\w+Error$|out of memory|can't allocate|DefaultCPUAllocator|MemoryError"
    r"|should be positive|unsupported operand|out of bounds|out of range|not subscriptable|NoneType|has no attribute"
    r"|cannot reshape|must match|singular matrix|(?<![.\d])\d{13,}|e\+\d\d+ bytes|buffer (is smaller|size)"
    r"|Torch|torch\.|weights_only|list index|unpack|positional argument|invalid literal"
    r"|codec can't|cannot convert|division by zero|object cannot be",
)
#: Names of files that a run may leave beside the results.
OWN = {".lock", "shield.json"}
#: Marks a record that was there before the run.
PLANTED = "an earlier run"


@dataclass
class Verdict:
    """
    Args:
        outcome: one of `OUTCOMES`.
        why: what is wrong, in words.
        reason: what the product said.
        label: path of the label that has yet to be compared with that of a plain file.
        record: the decision on the file.
        shared: whether what is wrong is the whole run's, and may be another file's doing.
    """

    outcome: str
    why: str = ""
    reason: str = ""
    label: Path | None = None
    record: dict[str, Any] = field(default_factory=dict)
    shared: bool = False


def wrong(why: str, reason: str = "", label: Path | None = None) -> Verdict:
    return Verdict("wrong", why, reason, label)


def stem_of(file: Path) -> str:
    """A file's name without its NIfTI ending, whatever its case."""
    return re.sub(r"\.nii(\.gz)?$", "", file.name, flags=re.IGNORECASE)


def plain_text_fault(reason: Any, longest: int = LONGEST_REASON) -> str:
    """What is wrong with a reason; empty where nothing is."""
    if not isinstance(reason, str) or not reason.strip():
        return "no reason given"
    if len(reason.splitlines()) != 1:
        return "a reason of several lines"
    if " " not in reason.strip():
        return f"a reason of one word ('{reason}')"
    if len(reason) > longest:
        return f"a reason of {len(reason)} characters"
    found = UNCLEAR.search(reason)
    return f"an unclear reason ('{found.group()}')" if found else ""


def judge_start(answer: Answer, files: Sequence[Path], named: Sequence[str], foreign: bool = False) -> Verdict:
    """
    A run that ended with an error before the first file: one line that names what it is about, and no result.

    Args:
        answer: of the run.
        files: it was about.
        named: what the error may name instead of one of the files.
        foreign: whether the error is of those who read a config, whose words are their own.
    """
    cause = answer.errors[-1].split(": ", 1)[-1]
    places = [str(part) for file in files for part in (file, file.name, stem_of(file)) if str(part)] + [
        str(answer.output_dir)
    ]
    # with the names taken out: how long they are, and what is in them, is not the product's doing
    bare = cause
    for place in sorted(places, key=len, reverse=True):
        bare = bare.replace(place, "…")
    new = sorted(listing(answer.output_dir) - answer.before - OWN)
    if any(name.endswith((".nii", ".nii.gz", ".json")) for name in new):
        return wrong(f"the run ended with an error and left {new[:3]}", cause)
    if foreign:
        return Verdict("refused", "", cause)
    fault = plain_text_fault(bare)
    if fault:
        return wrong(f"the run ended with {fault}", cause)
    if not any(name and name in message for name in (*named, *places) for message in answer.errors):
        return wrong("the run ended with an error that names neither file nor setting", cause)
    return Verdict("refused", "", cause)


class Results:
    """
    What a run left in its folder.

    Args:
        answer: of the run.
        foreign: whether reasons may be in others' words, as where the bundle was altered.
        kept: whether the label of a rejected file is kept, not emptied.
        inputs: files of the run: one that lies among the results is no label.
    """

    def __init__(self, answer: Answer, foreign: bool = False, kept: bool = False, inputs: Sequence[Path] = ()) -> None:
        self.foreign, self.kept, self.inputs = foreign, kept, set(inputs)
        self.answer, self.folder = answer, answer.output_dir
        self.summary: list[dict[str, Any]] = _json(self.folder / "shield.json") or []
        self.beside = {path: _json(path) for path in self._records()}
        self.explained: set[str] = set()

    def _records(self) -> list[Path]:
        return (
            [path for path in self.folder.glob("*_shield.json") if path.is_file()] if os.path.isdir(self.folder) else []
        )

    def fault(self) -> str:
        """What is wrong with the run as a whole; empty where nothing is."""
        if not isinstance(self.summary, list) or not self.summary:
            return "shield.json is missing or empty"
        code = int(any(entry.get("status") == "error" for entry in self.summary))
        return "" if self.answer.code == code else f"exit code {self.answer.code}, expected {code}"

    def left(self) -> list[str]:
        """What lies there and belongs to no result; to be asked after every file was judged."""
        return sorted(listing(self.folder) - self.answer.before - OWN - self.explained)

    def judge(self, file: Path, given: str) -> Verdict:
        """What became of a file, apart from the voxels of its label."""
        same = [entry for entry in self.summary if entry.get("file") == given or _alike(entry.get("file"), file)]
        if len(same) != 1:
            return wrong(f"shield.json has {len(same)} entries for the file")
        entry = same[0]
        path, record = next(
            ((path, r) for path, r in self.beside.items() if r and r.get("file") == entry["file"]), (None, {})
        )
        reason = str(entry.get("reason", ""))
        if path is not None:
            self.explained.add(path.name)
            if PLANTED in record or record.get("status") != entry["status"]:
                return wrong("the JSON beside it is of another run", reason)
        if entry["status"] == "error":
            return self._error(file, entry, path)
        if path is None:
            return wrong("no JSON beside the label", reason)
        label = path.with_name(path.name.removesuffix("_shield.json") + "_seg.nii.gz")
        self.explained.add(label.name)
        return self._label(file, label, record)

    def _error(self, file: Path, entry: dict[str, Any], path: Path | None) -> Verdict:
        stem, reason = stem_of(file), str(entry.get("reason", ""))
        fault = plain_text_fault(reason.replace(str(file), "…").replace(str(self.folder), "…"))
        if fault and not self.foreign:
            return wrong(fault, reason)
        left = [name for name in (f"{stem}_seg.nii.gz", f"{stem}_seg.nii") if self._there(name)]
        if left:
            return wrong(f"an error, and {left[0]} lies there", reason)
        blocked = len(os.fsencode(f"{stem}_shield.json")) > 255 or (self.folder / f"{stem}_shield.json").is_dir()
        if path is None and not blocked:
            return wrong("an error without a JSON", reason)
        names = {str(entry["file"]), repr(str(entry["file"]))[1:-1], json.dumps(str(entry["file"]))[1:-1]}
        lines = [line for line in self.answer.logged if any(name in line for name in names) and reason in line]
        if len(lines) != 1:
            return wrong(f"{len(lines)} lines of the log name the file and the reason", reason)
        if len(lines[0].splitlines()) != 1 or "Traceback" in lines[0] or not lines[0].isprintable():
            return wrong("the log's line is not one plain line", reason)
        return Verdict("refused", "", reason, record=entry)

    def _there(self, name: str) -> bool:
        """Whether there is a file of that name that no accepted file explains and that was no input of the run."""
        try:
            path = self.folder / name
            return name not in self.explained and path not in self.inputs and path.is_file()
        except OSError:  # the name is too long
            return False

    def _label(self, file: Path, path: Path, record: dict[str, Any]) -> Verdict:
        reason, status = str(record.get("reason", "")), record["status"]
        if status not in ("accepted", "rejected") or (status == "rejected") != bool(record.get("rejected")):
            return wrong(f"status {status} with rejected = {record.get('rejected')}", reason)
        if not path.is_file():
            return wrong("no label beside the JSON", reason)
        try:
            image = nib.load(file)
            shape, affine = image.shape[:3], image.affine
        except Exception as error:
            return wrong(f"{status}, though nibabel cannot read it: {error}", reason)
        try:
            label = nib.load(path)
            values = np.asarray(label.dataobj)
        except Exception as error:
            return wrong(f"a label that cannot be read: {error}", reason)
        if label.shape != shape:
            return wrong(f"a label of shape {label.shape} for an image of shape {image.shape}", reason, path)
        apart = farthest(shape, label.affine, affine)
        size = np.linalg.norm(affine[:3, :3], axis=0).min()
        if not apart <= 1e-2 * size + 1e-6 * np.abs(affine[:3, 3]).max():
            return wrong(f"a label {apart:.3g} mm from its image", reason, path)
        if values.dtype != np.uint8:
            return wrong(f"a label of type {values.dtype}", reason, path)
        if status == "rejected":
            fault = plain_text_fault(reason, LONGEST_LIST)
            if fault or (values.any() and not self.kept):
                return wrong(fault or "rejected, and its label is not empty", reason, path)
        elif reason:
            return wrong("accepted with a reason", reason, path)
        return Verdict("rejected" if status == "rejected" else "right", "", reason, path, record)


def farthest(shape: Sequence[int], one: np.ndarray, other: np.ndarray) -> float:
    """The largest distance between the places that two affines give to a corner of a volume."""
    corners = np.array([[*(np.array(shape) - 1) * pick, 1] for pick in np.ndindex(2, 2, 2)], dtype=float)
    with np.errstate(all="ignore"):
        return float(np.linalg.norm((corners @ (one - other).T)[:, :3], axis=1).max())


def _alike(given: Any, file: Path) -> bool:
    return isinstance(given, str) and os.path.basename(given) != "" and os.path.abspath(given) == os.path.abspath(file)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(), parse_constant=lambda name: f"not JSON: {name}")
    except (OSError, ValueError):
        return None
