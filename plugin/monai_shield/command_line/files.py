# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The files of a run and the names of its results."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)
SUFFIXES = (".nii", ".nii.gz")


def image_files(path: str | Path | Sequence[str | Path]) -> list[dict[str, str]]:
    """
    A datalist of files.

    Args:
        path: one file, several, or a folder: then its ``volumes/*_SS.nii.gz`` where it has such, else whatever
            ``*.nii`` and ``*.nii.gz`` lie in it, in upper case too. Other files of the folder are named in the log.

    Raises:
        FileNotFoundError: where the folder holds no NIfTI file.
    """
    if not isinstance(path, (str, Path)):
        return [{"image": str(entry)} for entry in path]
    root = Path(path)
    if not root.is_dir():
        return [{"image": str(root)}]
    found = sorted(root.glob("volumes/*_SS.nii.gz"))
    if not found:
        inside = sorted(entry for entry in root.iterdir() if not entry.is_dir())
        found = [entry for entry in inside if entry.name.lower().endswith(SUFFIXES)]
        others = [shown(entry.name) for entry in inside if entry not in found]
        if others:
            logger.warning("'%s': no NIfTI files, passed over: %s", root, ", ".join(others))
    if not found:
        raise FileNotFoundError(f"no NIfTI file in folder '{root}'.")
    return [{"image": str(file)} for file in found]


def check_names(files: Sequence[Any], output_dir: Path) -> None:
    """
    Check that no result of a run overwrites another, or an input.

    Args:
        files: the inputs.
        output_dir: where the results go.

    Raises:
        ValueError: where two files have the same name, or ``output_dir`` is the folder of one.
    """
    twice = [name for name, times in Counter(file_stem(file) for file in files).items() if times > 1]
    if twice:
        raise ValueError(f"several files are named {', '.join(twice)}: their results would overwrite one another.")
    folder = os.path.realpath(output_dir)
    for file in map(str, files):  # realpath does not mind a loop of links, which is refused as no file
        if folder in (os.path.realpath(os.path.dirname(file)), os.path.dirname(os.path.realpath(file))):
            raise ValueError(f"output_dir '{output_dir}' is the folder of the input '{file}': choose another.")


def file_stem(file: Any) -> str:
    """The name of a NIfTI file, without its folder and its ending."""
    name = Path(str(file)).name
    for suffix in (".gz", ".nii"):
        name = name[: -len(suffix)] if name.lower().endswith(suffix) else name
    return name


def shown(name: str) -> str:
    """A name in one line of a log: one with line breaks, or that is no text, as Python writes it."""
    return name if name.isprintable() else repr(os.fsencode(name))[1:]
