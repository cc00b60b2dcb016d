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
"""Figures of a study of defenses, from its stored results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monai_shield.studies.defense_summary import GRID, POOLED
from monai_shield.studies.defense_tables import attack_columns, find

from .figures import WIDTH, rendered

__all__ = ["defense_bars", "radial_figure", "roc_figure", "shift_figure", "spectra_figure"]

Results = Mapping[str, Any]
#: Reading of Dice, its name in the legend, its color.
READINGS = (
    ("reformed", "nothing rejected", "tab:gray"),
    ("accepted", "of the accepted", "tab:blue"),
    ("rejected_as_zero", "rejected as 0", "tab:red"),
    ("rejected_deferred", "rejected deferred", "tab:green"),
)


def defense_bars(results: Results, variant: str, attack: str = POOLED) -> bytes:
    """Figure 4: Dice of every defense, a panel a target, with 95 % intervals; the lines are without a defense."""
    targets = [row["target"] for row in results["targets"]]
    figure = Figure(figsize=(WIDTH, 3.2 * len(targets) + 0.6), layout="constrained")
    panels = figure.subplots(len(targets), 1, squeeze=False)[:, 0]
    for axes, target in zip(panels, targets):
        rows = find(results["defenses"], target=target, attack=attack, variant=variant)
        places = np.arange(len(rows))
        for offset, (name, label, color) in enumerate(READINGS):
            values = _intervals([row[name] for row in rows])
            axes.bar(
                places + 0.2 * (offset - 1.5),
                values[0],
                0.2,
                yerr=np.abs(values[1:] - values[0]),
                color=color,
                error_kw={"linewidth": 0.7},
                label=label,
            )
        if rows:
            axes.axhline(rows[0]["clean"]["value"], color="black", linewidth=1, label="clean, no defense")
            axes.axhline(
                rows[0]["undefended"]["value"], color="black", linewidth=1, linestyle=":", label="attacked, no defense"
            )
        axes.set_xticks(places, [row["defense"] for row in rows])
        axes.set_ylim(0, 1)
        axes.set_ylabel("Dice")
        axes.set_title(f"{target}, {attack} attacks, {variant}", fontsize="medium")
    panels[-1].set_xlabel("defense")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    return rendered(figure)


def roc_figure(results: Results, groups: Sequence[str]) -> bytes:
    """ROC curves, mean over targets, of the pooled attacks; a row a group, raw beside exported."""
    figure = Figure(figsize=(WIDTH, 4.4 * len(groups)), layout="constrained")
    for row, group in zip(figure.subplots(len(groups), 2, squeeze=False), groups):
        for axes, variant in zip(row, ("raw", "exported")):
            for curve in find(results["roc"], group=group, variant=variant):
                axes.plot(GRID, curve["true_positive_rate"], label=curve["detector"], linewidth=1.2)
            axes.plot([0, 1], [0, 1], color="black", linestyle=":", linewidth=0.8)
            axes.set_xlabel("false-positive rate")
            axes.set_ylabel("true-positive rate")
            axes.set_title(f"{group}, {variant}", fontsize="medium")
        row[1].legend(fontsize="x-small", loc="lower right")
    return rendered(figure)


def spectra_figure(results: Results, spectra: Mapping[str, np.ndarray]) -> bytes:
    """Figure 2: the spectrum of one slice, clean and under each attack, and the perturbations in space."""
    names = [f"{attack}, exported" for attack in attack_columns(results)]
    columns = len(names) + 1
    figure = Figure(figsize=(WIDTH, 2 * WIDTH / columns + 0.9), layout="constrained")
    panels = figure.subplots(2, columns, squeeze=False)
    clean = spectra["spectrum clean"].astype(np.float32)
    low, high = (float(bound) for bound in np.percentile(clean, [0.5, 100]))
    _panel(panels[0][0], clean, "clean", cmap="gray", vmin=low, vmax=high)
    panels[1][0].set_axis_off()
    for column, name in enumerate(names, 1):
        spectrum = spectra[f"spectrum {name}"].astype(np.float32)
        _panel(panels[0][column], spectrum, _wrapped(name), cmap="gray", vmin=low, vmax=high)
        change = spectra[f"perturbation {name}"].astype(np.float32)
        largest = float(np.abs(change).max()) or 1.0
        _panel(panels[1][column], change, f"± {largest:.3f}", cmap="RdBu_r", vmin=-largest, vmax=largest)
    return rendered(figure)


def shift_figure(spectra: Mapping[str, np.ndarray]) -> bytes:
    """Figure 3: a spectrum as the transform gives it, and with the zero frequency in the center."""
    figure = Figure(figsize=(WIDTH * 0.7, WIDTH * 0.38), layout="constrained")
    first, second = figure.subplots(1, 2)
    _panel(first, spectra["unshifted clean"].astype(np.float32), "frequency", cmap="gray")
    _panel(second, spectra["spectrum clean"].astype(np.float32), "shifted frequency", cmap="gray")
    return rendered(figure)


def radial_figure(results: Results, spectra: Mapping[str, np.ndarray]) -> bytes:
    """Mean log power by radius over all attacked slices, clean and under each attack, raw beside exported."""
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    for axes, variant in zip(figure.subplots(1, 2, sharey=True), ("raw", "exported")):
        for name, key in [("clean", "clean"), *((a, f"{a}, {variant}") for a in attack_columns(results))]:
            values = spectra[f"radial {key}"]
            radii = (np.arange(len(values)) + 0.5) * 0.5 / len(values)
            style = {"color": "black", "linewidth": 2} if name == "clean" else {"linewidth": 1.2}
            axes.plot(radii, values, label=name, **style)
        axes.set_xlabel("frequency, cycles per pixel")
        axes.set_title(variant, fontsize="medium")
    figure.axes[0].set_ylabel("mean log10 power")
    figure.axes[1].legend(fontsize="small")
    return rendered(figure)


def _intervals(rows: Sequence[Mapping[str, float | None]]) -> np.ndarray:
    """Value, low and high, (3, rows); what is not a number is left out of the picture."""
    return np.array([[np.nan if row[key] is None else row[key] for row in rows] for key in ("value", "low", "high")])


def _panel(axes: Axes, image: np.ndarray, title: str, **settings: Any) -> None:
    axes.set_title(title, fontsize="x-small")
    axes.set_axis_off()
    axes.imshow(image.T, origin="lower", interpolation="nearest", **settings)


def _wrapped(name: str) -> str:
    return name.replace(", ", "\n")
