# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""From words on the command line to an attack and the files it is for."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from monai_shield.attacks import ATTACKS, Attack
from monai_shield.bundle.files import root_cause
from monai_shield.bundle.names import file_stem, image_files
from monai_shield.errors import BundleError

NOT_FROM_THE_COMMAND_LINE = ("criterion", "window")


def make_attack(name: str, settings: Mapping[str, Any]) -> Attack:
    """
    An attack by its name in :data:`monai_shield.attacks.ATTACKS`, of those that settings alone make.

    Raises:
        BundleError: where there is no such attack or setting, one is missing, or its value is wrong.
    """
    offered = [each for each, attack in ATTACKS.items() if attack.from_command_line]
    if name not in offered:
        raise BundleError(f"no attack '{name}'; there are {', '.join(sorted(offered))}.")
    known = [field for field in fields(ATTACKS[name]) if field.init and field.name not in NOT_FROM_THE_COMMAND_LINE]
    unknown = sorted(set(settings) - {field.name for field in known})
    if unknown:
        names = ", ".join(sorted(field.name for field in known))
        raise BundleError(f"{name} has no setting '{unknown[0]}'; it has {names}.")
    needed = [field.name for field in known if field.default is MISSING and field.default_factory is MISSING]
    missing = [each for each in needed if each not in settings]
    if missing:
        raise BundleError(f"{name} needs a value for {', '.join(missing)}: --{missing[0]} …")
    try:
        return ATTACKS[name](**settings)
    except (TypeError, ValueError) as error:
        raise BundleError(f"{name}: {root_cause(error)}") from error


def attack_files(source: str | Path, labels: str | Path | None = None) -> dict[Path, Path | None]:
    """
    The files to attack and the label of each.

    Args:
        source: a NIfTI file, or a folder of them (:func:`~monai_shield.bundle.image_files`).
        labels: label of the one file, or a folder with a label of the same name for each; None for no labels.

    Raises:
        BundleError: where a file or a label is missing, or two files have the same name.
    """
    try:
        files = [Path(entry["image"]) for entry in image_files(source)]
    except FileNotFoundError as error:
        raise BundleError(str(error)) from error
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise BundleError(f"no file '{missing[0]}'.")
    twice = [name for name, times in Counter(map(file_stem, files)).items() if times > 1]
    if twice:
        raise BundleError(f"several files are named {', '.join(twice)}: one result would overwrite the other.")
    if labels is None:
        return dict.fromkeys(files)
    root = Path(labels)
    if not root.is_dir():
        if len(files) > 1:
            raise BundleError(f"one label '{root}' for {len(files)} files: give a folder of labels.")
        found = {files[0]: root}
    else:
        found = {file: root / file.name for file in files}
    for label in found.values():
        if not label.is_file():
            raise BundleError(f"no label '{label}'.")
    return dict(found)
