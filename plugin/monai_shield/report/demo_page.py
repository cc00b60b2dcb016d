# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""From the folder of a demo to its picture and its page; nothing is computed again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from monai_shield.report import figures
from monai_shield.report.pages import render_page
from monai_shield.report.words import findings, headline
from monai_shield.transforms import read_values
from monai_shield.utils import atomic_path

RESULT, FIGURE, PAGE = "result.json", "figure.png", "report.html"


def render_demo(folder: str | Path) -> dict[str, Any]:
    """
    Write ``figure.png`` and ``report.html`` from the ``result.json`` and the NIfTI files of a demo.

    Returns:
        the result.

    Raises:
        FileNotFoundError: where one of the files is missing.
    """
    root = Path(folder)
    if not (root / RESULT).is_file():
        raise FileNotFoundError(f"'{root / RESULT}' is missing: run the demo first.")
    result = json.loads((root / RESULT).read_text())
    view = shown_slice(root, result)
    scans = {name: result["scans"][name]["slices"] for name in ("attacked", "clean")}
    scores = (scans, result["calibration"]["threshold"], result["slab_mm"])
    title = f"coronal slice at {result['shown_slice']['position_mm']} mm"
    with atomic_path(root / FIGURE) as temporary:
        temporary.write_bytes(figures.one_figure(view, *scores, title=title))
    page = render_page(
        "demo.html",
        result=result,
        headline=headline(result),
        findings=findings(result),
        pictures={
            "images": figures.png(figures.draw_images, view),
            "spectra": figures.png(figures.draw_spectra, view),
            "segmentations": figures.png(figures.draw_segmentations, view),
            "scores": figures.png(figures.draw_scores, *scores, height=4.0),
        },
    )
    with atomic_path(root / PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return result


def shown_slice(folder: str | Path, result: Mapping[str, Any]) -> figures.SliceView:
    """The slice that the demo shows, read from its files."""
    files, shown = result["files"], result["shown_slice"]
    low, high = result["intensity_window"]

    def slice_of(name: str) -> np.ndarray:
        file = Path(folder) / files[name]
        if not file.is_file():
            raise FileNotFoundError(f"'{file}' is missing: run the demo again.")
        return np.take(read_values(file), shown["file_index"], axis=shown["file_axis"])

    return figures.SliceView(
        clean=(slice_of("clean") - low) / (high - low),
        attacked=(slice_of("attacked") - low) / (high - low),
        before=slice_of("clean, undefended"),
        after=slice_of("attacked, undefended"),
        defended=slice_of("attacked, reformed"),
        classes=len(result["dice"]["structures"]) + 1,
        spectrum_size=tuple(result["spatial_size"]),
        rejected=shown["rejected"],
    )
