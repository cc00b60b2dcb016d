# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""From the stored results of an evaluation, or of a study of attacks, to its page."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_shield.errors import UserError
from monai_shield.evaluation import attack_study_table
from monai_shield.evaluation.tables import attack_table, clean_table, structure_table
from monai_shield.report.pages import render_page
from monai_shield.utils import atomic_path

RESULTS, PAGE = "results.json", "report.html"


class StudyPageError(UserError):
    """A file holds no results that there is a page for."""


def render_study(folder: str | Path, output: str | Path | None = None) -> Path:
    """
    Write ``report.html`` of an evaluation or of a study of attacks.

    Args:
        folder: with the study's ``results.json``.
        output: where to; by default into the same folder.

    Returns:
        the page's path.

    Raises:
        FileNotFoundError: where the results are missing.
        StudyPageError: where the file holds something else.
    """
    file = Path(folder) / RESULTS
    if not file.is_file():
        raise FileNotFoundError(f"'{file}' is missing: run the study first.")
    try:
        results = json.loads(file.read_text())
    except ValueError as error:
        raise StudyPageError(f"'{file}' is no JSON file: {error}") from error
    if not isinstance(results, dict) or not results.keys() & {"calibration", "attacks"}:
        raise StudyPageError(f"'{file}' holds no results of a study.")
    page = Path(output or folder) / PAGE
    with atomic_path(page) as temporary:
        temporary.write_text(study_page(results), encoding="utf-8")
    return page


def study_page(results: Mapping[str, Any]) -> str:
    """The page: what was measured, its tables, and where its numbers come from."""
    if "calibration" in results:
        template = "evaluation.html"
        tables = {
            "Clean images": clean_table(results),
            "Attacked images": attack_table(results),
            "Clean Dice by structure": structure_table(results),
        }
    else:
        template, tables = "attack_study.html", {"Attacks": attack_study_table(results)}
    return render_page(template, results=results, tables=tables, provenance=results.get("provenance", {}))
