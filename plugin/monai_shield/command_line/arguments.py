# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The arguments that commands share."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_shield.command_line.files import SUFFIXES, file_stem, image_files
from monai_shield.errors import BundleError, UserError

CONFIGS = ("inference.json", "inference.yaml", "inference.yml")


@dataclass(frozen=True)
class AttackScope:
    """
    Which part of a file is attacked.

    Args:
        slices: of a bundle that cuts volumes into slices: how many of each, evenly spaced; None for all with more than
            2 % foreground.
        background: value of a file's background, which is restored; "border" to find it
            (:func:`~monai_shield.transforms.border_background`); None for none.

    Raises:
        UserError: for a value that is none of these.
    """

    slices: int | None = None
    background: float | str | None = "border"

    def __post_init__(self) -> None:
        if self.slices is not None:
            whole_number("slices", self.slices)
        if isinstance(self.background, str | bool) and self.background != "border":
            raise UserError(f"background must be a number, 'border' or None, got {self.background!r}.")


def whole_number(name: str, value: Any, least: int = 1) -> None:
    """
    Check that an argument is a whole number, at least `least`.

    Raises:
        UserError: where it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{name} must be a whole number, at least {least}, got {value!r}.")


def inference_config(bundle: str | Path) -> Path:
    """
    The inference config of a bundle.

    Raises:
        BundleError: where there is none.
    """
    found = [file for name in CONFIGS if (file := Path(bundle).resolve() / "configs" / name).is_file()]
    if not found:
        raise BundleError(f"no bundle in '{bundle}': it has no configs/inference.json or inference.yaml.")
    return found[0]


def attack_files(source: str | Path, labels: str | Path | None = None) -> dict[Path, Path | None]:
    """
    The files to attack and the label of each.

    Args:
        source: a NIfTI file, or a folder of them (:func:`~monai_shield.bundle.image_files`).
        labels: label of the one file, or a folder with a label of the same name for each; None for no labels.

    Raises:
        UserError: where a file or a label is missing or no NIfTI file, or two files have the same name.
    """
    try:
        files = [Path(entry["image"]) for entry in image_files(source)]
    except FileNotFoundError as error:
        raise UserError(str(error)) from error
    _check_there("file", files)
    twice = [name for name, times in Counter(map(file_stem, files)).items() if times > 1]
    if twice:
        raise UserError(f"several files are named {', '.join(twice)}: one result would overwrite the other.")
    if labels is None:
        return dict.fromkeys(files)
    root = Path(labels)
    if not root.is_dir() and len(files) > 1:
        raise UserError(f"one label '{root}' for {len(files)} files: give a folder of labels.")
    found = {file: root / file.name if root.is_dir() else root for file in files}
    _check_there("label", found.values())
    return dict(found)


def _check_there(what: str, files: Iterable[Path]) -> None:
    for file in files:
        if not file.is_file():
            raise UserError(f"no {what} '{file}'.")
        if not file.name.lower().endswith(SUFFIXES):
            raise UserError(f"{what} '{file}' is no NIfTI file: only {' and '.join(SUFFIXES)} are supported.")
