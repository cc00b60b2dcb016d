# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""From the stored results of a study of defenses to figures and one page that stands alone."""

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from monai_shield.report.pages import render_page
from monai_shield.utils import atomic_path
from reproduction.image_set import MEAN, VARIANTS
from reproduction.report.figures import bare_bars, defense_bars, radial_figure, roc_figure, shift_figure, spectra_figure
from reproduction.tables import all_targets, attack_columns, defense_tables, detector_groups

Results = Mapping[str, Any]
TEMPLATES = Path(__file__).parent / "templates"
#: What a group of detectors is about; another one has its own name as a title.
GROUP_TITLES = {
    "paper": "Table 1: the detectors of the paper",
    "representation": "Detectors by representation of the spectrum",
    "layout": "Detectors by layout of the spectrum",
    "length": "Detectors by length of their training",
    "magnet": "The detectors of MagNet",
    "baseline": "Baseline detectors (one of them uses a trained reformer)",
}


def render_defenses(folder: str | Path, output: str | Path | None = None) -> Path:
    """
    Draw the figures and write ``report.html`` of a study.

    Args:
        folder: with its ``results.json`` and ``spectra.npz``.
        output: where to; by default into the same folder.

    Returns:
        the page's path.

    Raises:
        FileNotFoundError: where a result is missing.
    """
    root, target = Path(folder), Path(output or folder)
    for name in ("results.json", "spectra.npz"):
        if not (root / name).is_file():
            raise FileNotFoundError(f"'{root / name}' is missing: run the study first.")
    results = json.loads((root / "results.json").read_text())
    with np.load(root / "spectra.npz", allow_pickle=False) as file:
        figures = {name: draw() for name, (_, draw) in _figures(results, dict(file)).items()}
    for name, picture in figures.items():
        with atomic_path(target / f"{name}.png") as temporary:
            temporary.write_bytes(picture)
    page = target / "report.html"
    with atomic_path(page) as temporary:
        temporary.write_text(defense_page(results, figures), encoding="utf-8")
    return page


def defense_captions(results: Results) -> dict[str, str]:
    """What each figure shows, by its name."""
    return {name: caption for name, (caption, _) in _figures(results, {}).items()}


def defense_page(results: Results, figures: Mapping[str, bytes]) -> str:
    """
    The page: what was done, the figures, every table.

    Args:
        results: of the study.
        figures: PNG files by the names of :func:`defense_captions`.
    """
    return render_page(
        "study.html",
        TEMPLATES,
        results=results,
        provenance=results["provenance"],
        pooled=[name for name, attack in results["settings"]["attacks"].items() if attack["pooled"]],
        figures=figures,
        captions=defense_captions(results),
        figure_name=figure_name,
        tables=defense_tables(results),
        groups=detector_groups(results),
        group_titles=GROUP_TITLES,
        attacks=attack_columns(results),
        targets=all_targets(results),
        of=_of,
        variants=VARIANTS,
    )


def figure_name(kind: str, *about: str) -> str:
    """Name of a figure, as a part of a file's name."""
    return "_".join([kind, *(re.sub(r"\W+", "_", name.lower()) for name in about)])


def _figures(results: Results, spectra: Mapping[str, np.ndarray]) -> dict[str, tuple[str, Callable[[], bytes]]]:
    """Caption and drawing of every figure, by its name."""
    bars = {
        figure_name("defenses", target, variant): (
            f"Defenses{_of(target)}: Dice against the pooled attacks, {variant}, with 95 % intervals; – where nothing "
            "was accepted (Figure 4 of the paper).",
            partial(defense_bars, results, target, variant),
        )
        for target in all_targets(results)
        for variant in VARIANTS
    }
    curves = {
        figure_name("roc", group): (
            f"ROC curves of the group '{group}' against the pooled attacks, mean over the targets; of each detector "
            "the first seed.",
            partial(roc_figure, results, group),
        )
        for group in detector_groups(results)
    }
    return {
        **bars,
        **curves,
        "bare_targets": (
            "Dice of the targets without a defense under each attack, exported, with 95 % intervals; the line at the "
            "end of a row is clean.",
            partial(bare_bars, results),
        ),
        "spectra": (
            "Log spectra of one test slice, clean and attacked (exported), and below each the perturbation in space "
            "with its range (Figure 2 of the paper).",
            partial(spectra_figure, results, spectra),
        ),
        "shift": (
            "The clean spectrum of that slice, as the transform gives it and shifted (Figure 3 of the paper).",
            partial(shift_figure, spectra),
        ),
        "radial": (
            "Power by frequency, mean over the attacked test slices.",
            partial(radial_figure, results, spectra),
        ),
    }


def _of(target: str) -> str:
    return ", mean over the targets" if target == MEAN else f" of {target}"
