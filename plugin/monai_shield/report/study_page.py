# Copyright (c) The monai-shield authors.
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""From the stored results of any study to its page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monai_shield.utils import atomic_path

from .attack_study_page import attack_study_page
from .defense_page import render_defenses
from .evaluation_page import evaluation_page

__all__ = ["StudyPageError", "render_study"]

RESULTS, PAGE = "results.json", "report.html"
Results = Mapping[str, Any]


class StudyPageError(RuntimeError):
    """A file holds no results that there is a page for."""


def render_study(folder: str | Path, output: str | Path | None = None) -> Path:
    """
    Write ``report.html`` of an evaluation, of a study of attacks or of a study of defenses, and figures of the latter.

    Args:
        folder: with the study's ``results.json``, and with the ``spectra.npz`` of a study of defenses.
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
    if "defenses" in results:
        return render_defenses(folder, target)
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
