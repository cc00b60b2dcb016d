# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Where a bundle lies, and how its weights are written and read."""

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
            if (candidate / "configs" / "metadata.json").is_file():
                return str(candidate)
    return str(start)
