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
"""From the stored results of a study of defenses to figures and one page that stands alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from monai_shield.studies.defense_tables import defense_tables
from monai_shield.utils import atomic_path

from . import html
from .defense_figures import defense_bars, radial_figure, roc_figure, shift_figure, spectra_figure

__all__ = ["defense_figures", "defense_page", "render_defenses"]

CAPTIONS = {
    "defenses_exported": "Dice of every defense against the pooled attacks, exported (Figure 4 of the paper).",
    "defenses_raw": "The same, raw.",
    "roc": "ROC curves against the pooled attacks, mean over the targets; of each detector the first seed.",
    "spectra": "Log spectra of one test slice, and the perturbations in space with their range (Figure 2).",
    "shift": "The spectrum of that slice, as the transform gives it and shifted (Figure 3).",
    "radial": "Power by frequency, mean over the attacked test slices.",
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
        figures = defense_figures(results, dict(file))
    for name, picture in figures.items():
        with atomic_path(target / f"{name}.png") as temporary:
            temporary.write_bytes(picture)
    page = target / "report.html"
    with atomic_path(page) as temporary:
        temporary.write_text(defense_page(results, figures), encoding="utf-8")
    return page


def defense_figures(results: Mapping[str, Any], spectra: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """Every figure, as a PNG file, by its name."""
    groups = list(dict.fromkeys(row["group"] for row in results["detectors"]))
    return {
        "defenses_exported": defense_bars(results, "exported"),
        "defenses_raw": defense_bars(results, "raw"),
        "roc": roc_figure(results, groups),
        "spectra": spectra_figure(results, spectra),
        "shift": shift_figure(spectra),
        "radial": radial_figure(results, spectra),
    }


def defense_page(results: Mapping[str, Any], figures: Mapping[str, bytes]) -> str:
    """The page: what was done, the figures, every table."""
    settings = results["settings"]
    slices, persons = settings["slices"], settings["persons"]
    return html.page(
        "monai-shield: defenses of segmentation networks against adversarial images",
        [
            html.paragraphs(
                f"Trained on {slices['train']} slices of {persons['train']} people, thresholds from {slices['val']} "
                f"slices of {persons['val']}, attacks on {slices['test']} slices of {persons['test']}. In brackets: "
                f"95 % intervals by a bootstrap over people. A threshold lets no more than "
                f"{settings['t_fp']:.0%} of the validation slices be rejected.",
                "Pooled is the mean over "
                + ", ".join(name for name, attack in settings["attacks"].items() if attack["pooled"])
                + ". Exported attacks were written to a file of the clean file's type, with the background restored.",
            ),
            *(html.embedded_image(figures[name], CAPTIONS[name], CAPTIONS[name]) for name in figures),
            *(
                html.section(title, html.table_of_markdown(table))
                for title, table in defense_tables(results).items()
                if "\n" in table
            ),
            html.section(
                "Settings",
                html.table(["attack", "how"], [[name, each["attack"]] for name, each in settings["attacks"].items()]),
            ),
        ],
        footer="; ".join(f"{key}: {value}" for key, value in results["provenance"].items()),
    )
