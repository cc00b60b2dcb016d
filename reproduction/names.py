# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Names that are not known, or that stand for two things, are refused before anything is computed."""

from collections.abc import Collection, Iterable

from monai_shield.evaluation.cells import file_name


def check_distinct(what: str, names: Iterable[str], reserved: Collection[str] = ()) -> None:
    """
    Check that every name has a file name of its own.

    Raises:
        ValueError: when two names have one, or a name is reserved.
    """
    seen: dict[str, str] = {}
    for name in names:
        if name in reserved:
            raise ValueError(f"no {what} may be called '{name}'.")
        if file_name(name) in seen:
            raise ValueError(f"{what}s '{seen[file_name(name)]}' and '{name}' cannot be told apart by their files.")
        seen[file_name(name)] = name


def check_known(what: str, names: Iterable[str], known: Collection[str]) -> None:
    """
    Check that every name is known.

    Raises:
        ValueError: when one is not.
    """
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"{what}: there is no {', '.join(map(repr, unknown))}.")
