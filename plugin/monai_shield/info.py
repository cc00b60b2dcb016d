# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Where an attack, a detector or a reformer comes from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Info:
    """
    The origin of an attack, a detector or a reformer; tables and pages are made from it.

    Args:
        name: what it is called in tables.
        paper: authors and title, or in a few words what it is where there is no paper.
        year: year of publication.
        arxiv: arXiv id, None where there is none.
        doi: DOI, where it is not on arXiv.
    """

    name: str
    paper: str
    year: int | None = None
    arxiv: str | None = None
    doi: str | None = None
