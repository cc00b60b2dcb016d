# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""From the stored results of any study to its page."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monai_shield.errors import UserError
from monai_shield.report.attack_study_page import attack_study_page
from monai_shield.report.evaluation_page import evaluation_page
from monai_shield.utils import atomic_path

RESULTS, PAGE = "results.json", "report.html"
Results = Mapping[str, Any]


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
        FileNotFoundError: where a result is missing.
        StudyPageError: where the results are of nothing that is known here.
    """
    file, target = Path(folder) / RESULTS, Path(output or folder)
    if not file.is_file():
        raise FileNotFoundError(f"'{file}' is missing: run the study first.")
    try:
        results = json.loads(file.read_text())
    except ValueError as error:
        raise StudyPageError(f"'{file}' is no JSON file: {error}") from error
    if not isinstance(results, dict):
        raise StudyPageError(f"'{file}' holds no results of a study.")
    render: Callable[[Results], str]
    if "calibration" in results:
        render = evaluation_page
    elif "attacks" in results:
        render = attack_study_page
    else:
        raise StudyPageError(f"'{file}' holds no results of a study.")
    page = target / PAGE
    with atomic_path(page) as temporary:
        temporary.write_text(render(results), encoding="utf-8")
    return page
