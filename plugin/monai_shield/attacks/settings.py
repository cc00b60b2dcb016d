# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Checks of settings, each given by its name; None passes. What is refused raises a ``ValueError``."""

from collections.abc import Sequence


def check_positive(**settings: float | None) -> None:
    """Refuse what is not above 0."""
    for name, value in settings.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive, got {value}.")


def check_at_least(least: int, **settings: float | None) -> None:
    """Refuse what is below ``least``."""
    for name, value in settings.items():
        if value is not None and not value >= least:
            raise ValueError(f"{name} must be at least {least}, got {value}.")


def check_one_of(choices: Sequence[str], **settings: str) -> None:
    """Refuse what is none of the choices."""
    for name, value in settings.items():
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}.")
