# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The study of the paper in other sizes."""

from pathlib import Path
from typing import Any

from monai_shield.bundle import shared_part
from reproduction.study import DefenseStudy


def paper_study(**settings: Any) -> DefenseStudy:
    """
    The study that ``configs/studies/paper.json`` declares, with some of its settings replaced.

    Args:
        settings: entries of that config.

    Raises:
        SystemExit: with one line, where that config has no such entry.
    """
    return shared_part(Path(__file__).parents[1], "defense_study", "studies/paper.json", **settings)
