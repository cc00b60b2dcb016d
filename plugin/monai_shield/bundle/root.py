# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Where a bundle lies."""

import re
import sys
from pathlib import Path


def find_bundle(name: str, start: str | Path = ".") -> str:
    """
    The root of a bundle, whether one stands inside it or in the repository that holds it.

    Args:
        name: name of the bundle, which is its folder.
        start: where to look from; the working directory by default.

    Returns:
        the first of ``start`` (if it is the bundle), ``start/name`` and ``start/bundles/name`` that holds
        ``configs/metadata.json``, looking upwards from `start`; `start` itself where none does, as the zoo has it.
    """
    here = Path(start).resolve()
    for base in (here, *here.parents):
        candidates = [base] if base.name == name else []
        for candidate in (*candidates, base / name, base / "bundles" / name):
            if _is_bundle(candidate):
                return str(candidate)
    return str(start)


def bundle_root(name: str) -> str:
    """
    The root of the bundle that a config belongs to, for the config itself: MONAI does not tell it where it lies.

    Args:
        name: name of the bundle, which is its folder.

    Returns:
        the bundle of a config that the command line names, else what :func:`find_bundle` finds.

    Raises:
        SystemExit: with one line, where there is none.
    """
    named = (
        Path(file).resolve().parent.parent for word in sys.argv for file in re.findall(r"[^'\"=,[\]]+\.json", word)
    )
    for candidate in (*named, Path(find_bundle(name))):
        if candidate.resolve().name == name and _is_bundle(candidate):
            return str(candidate)
    raise SystemExit(
        f"monai-shield: no bundle '{name}' here: run it from its folder or its repository, or give --bundle_root."
    )


def _is_bundle(folder: Path) -> bool:
    return (folder / "configs" / "metadata.json").is_file()
