# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Figures of a study of defenses, from its stored results: narrow, so that a phone shows their text large enough."""

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monai_shield.report.figures import rendered
from reproduction.detection_rows import GRID
from reproduction.image_set import MEAN, POOLED, VARIANTS
from reproduction.tables import attack_columns, find

Results = Mapping[str, Any]
#: Width in inches: on a phone's page, some 4 inches wide, 9 points are still 6.
WIDTH = 6.0
#: Dots an inch: sharp on a page that shows the figure twice as large.
DPI = 180
FONT = 9
SMALL = 8
#: Of Okabe and Ito, told apart by color-blind readers too; more curves than colors differ by their dashes.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", "--", ":", "-.")
#: Variant of Dice, its name in the legend, its color.
DICE_BARS = (
    ("reformed", "nothing rejected", "#999999"),
    ("accepted", "of the accepted", COLORS[0]),
    ("rejected_as_zero", "rejected as 0", COLORS[1]),
    ("rejected_deferred", "rejected deferred", COLORS[2]),
)
#: Panels of images a row.
COLUMNS = 4


def bare_bars(results: Results) -> bytes:
    """Dice of every target without a defense under each exported attack, with 95 % intervals, and a line for clean."""
    targets, attacks = [row["target"] for row in results["targets"]], attack_columns(results)
    figure = Figure(figsize=(WIDTH, (0.13 * len(targets) + 0.1) * len(attacks) + 1.4), layout="constrained")
    axes = figure.subplots()
    places, height = np.arange(len(attacks)), 0.8 / len(targets)
    for offset, (target, color) in enumerate(zip(targets, itertools.cycle(COLORS))):
        found = {row["attack"]: row for row in find(results["undefended"], target=target, variant="exported")}
        centers = places + height * (offset - (len(targets) - 1) / 2)
        values, low, high = _intervals([found[attack]["attacked"] for attack in attacks])
        axes.barh(centers, values, height, color=color, label=target)
        axes.hlines(centers, low, high, color="black", linewidth=0.8)
        clean, _, _ = _intervals([found[attack]["clean"] for attack in attacks])
        axes.vlines(clean, centers - height / 2, centers + height / 2, color=color, linewidth=2)
    _finish_bars(figure, axes, [_wrapped(attack) for attack in attacks])
    return rendered(figure, DPI)


def defense_bars(results: Results, target: str, variant: str, attack: str = POOLED) -> bytes:
    """
    Figure 4: Dice of every defense of one target with 95 % intervals; the lines are without a defense.

    Args:
        results: of the study.
        target: one of the targets, or their mean.
        variant: "raw" or "exported".
        attack: one of the attacks, or the pooled ones.
    """
    rows = find(results["defenses"], target=target, attack=attack, variant=variant, adjusted=False)
    figure = Figure(figsize=(WIDTH, 0.42 * len(rows) + 1.6), layout="constrained")
    axes = figure.subplots()
    places, height = np.arange(len(rows)), 0.8 / len(DICE_BARS)
    for offset, (name, label, color) in enumerate(DICE_BARS):
        values, low, high = _intervals([row[name] for row in rows])
        centers = places + height * (offset - (len(DICE_BARS) - 1) / 2)
        axes.barh(centers, values, height, color=color, label=label)
        axes.hlines(centers, low, high, color="black", linewidth=0.8)
        for center in centers[np.isnan(values)]:
            axes.text(0.005, center, "–", color=color, fontsize=FONT, fontweight="bold", va="center_baseline")
    if rows:
        for name, label, dashes in (("clean", "clean", "-"), ("undefended", "attacked", ":")):
            (value,), _, _ = _intervals([rows[0][name]])
            axes.axvline(value, color="black", linewidth=1, linestyle=dashes, label=f"{label}, no defense")
    name = "mean over the targets" if target == MEAN else target
    figure.suptitle(f"{name}, {attack} attacks, {variant}", fontsize=FONT)
    _finish_bars(figure, axes, [_defense(row) for row in rows])
    return rendered(figure, DPI)


def roc_figure(results: Results, group: str) -> bytes:
    """ROC curves of one group of detectors, mean over the targets, of the pooled attacks; exported beside raw."""
    curves = {variant: find(results["roc"], group=group, variant=variant) for variant in VARIANTS}
    lines = (len(curves[VARIANTS[0]]) + 1) // 2
    figure = Figure(figsize=(WIDTH, 3.4 + 0.17 * lines), layout="constrained")
    panels = figure.subplots(1, len(VARIANTS), sharey=True)
    for axes, (variant, found) in zip(panels, curves.items()):
        for curve, style in zip(found, _styles(len(found))):
            rates = [np.nan if rate is None else rate for rate in curve["true_positive_rate"]]
            axes.plot(GRID, rates, label=curve["detector"], **style)
        axes.plot([0, 1], [0, 1], color="gray", linewidth=0.6)
        # a curve along the frame is drawn whole
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_box_aspect(1)
        axes.set_title(f"{group}, {variant}", fontsize=FONT)
        axes.set_xlabel("false-positive rate", fontsize=FONT)
        axes.tick_params(labelsize=SMALL)
    panels[0].set_ylabel("true-positive rate", fontsize=FONT)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=SMALL)
    return rendered(figure, DPI)


def spectra_figure(results: Results, spectra: Mapping[str, np.ndarray]) -> bytes:
    """Figure 2: the spectrum of one slice, clean and under each exported attack, and the perturbations in space."""
    names = [name for name in attack_columns(results) if f"spectrum {name}, exported" in spectra]
    clean = spectra["spectrum clean"].astype(np.float32)
    low, high = (float(bound) for bound in np.percentile(clean, [0.5, 100]))
    blocks = -(-(len(names) + 1) // COLUMNS)
    figure = Figure(figsize=(WIDTH, 2 * blocks * (WIDTH / COLUMNS * clean.shape[1] / clean.shape[0] + 0.3)))
    figure.set_layout_engine("constrained", h_pad=0.02, w_pad=0.02)
    panels = figure.subplots(2 * blocks, COLUMNS, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    _panel(panels[0][0], clean, "clean", cmap="gray", vmin=low, vmax=high)
    for place, name in enumerate(names, 1):
        block, column = divmod(place, COLUMNS)
        spectrum = spectra[f"spectrum {name}, exported"].astype(np.float32)
        _panel(panels[2 * block][column], spectrum, _wrapped(name), cmap="gray", vmin=low, vmax=high)
        change = spectra[f"perturbation {name}, exported"].astype(np.float32)
        largest = float(np.abs(change).max())
        scale = {"cmap": "RdBu_r", "vmin": -(largest or 1), "vmax": largest or 1}
        _panel(panels[2 * block + 1][column], change, f"± {largest:.3f}", **scale)
    return rendered(figure, DPI)


def shift_figure(spectra: Mapping[str, np.ndarray]) -> bytes:
    """Figure 3: a spectrum as the transform gives it, and with the zero frequency in the center."""
    shape = spectra["spectrum clean"].shape
    figure = Figure(figsize=(WIDTH, WIDTH / 2 * shape[1] / shape[0] + 0.3), layout="constrained")
    first, second = figure.subplots(1, 2)
    _panel(first, spectra["unshifted clean"].astype(np.float32), "frequency", cmap="gray")
    _panel(second, spectra["spectrum clean"].astype(np.float32), "shifted frequency", cmap="gray")
    return rendered(figure, DPI)


def radial_figure(results: Results, spectra: Mapping[str, np.ndarray]) -> bytes:
    """Mean log power by radius over all attacked slices, clean and under each attack, exported beside raw."""
    names = [name for name in attack_columns(results) if f"radial {name}, exported" in spectra]
    figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
    panels = figure.subplots(1, len(VARIANTS), sharey=True)
    for axes, variant in zip(panels, VARIANTS):
        _radial(axes, spectra["radial clean"], "clean", color="black", linewidth=2)
        for name, style in zip(names, _styles(len(names))):
            _radial(axes, spectra[f"radial {name}, {variant}"], name, **style)
        axes.set_xlabel("frequency, cycles per pixel", fontsize=FONT)
        axes.set_title(variant, fontsize=FONT)
        axes.tick_params(labelsize=SMALL)
    panels[0].set_ylabel("mean log10 power", fontsize=FONT)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=SMALL)
    return rendered(figure, DPI)


def _radial(axes: Axes, values: np.ndarray, label: str, **style: Any) -> None:
    known = np.isfinite(values)  # of a small image not every ring holds a frequency
    axes.plot(((np.arange(len(values)) + 0.5) * 0.5 / len(values))[known], values[known], label=label, **style)


def _styles(number: int) -> list[dict[str, Any]]:
    """Color and dashes of curves, no two the same up to 24; ever thinner, so that none hides one drawn before."""
    rounds = [divmod(index, len(COLORS)) for index in range(number)]
    return [
        {"color": COLORS[color], "linestyle": DASHES[turn % len(DASHES)], "linewidth": float(width)}
        for (turn, color), width in zip(rounds, np.linspace(2.4, 1, number))
    ]


def _defense(row: Mapping[str, Any]) -> str:
    """A defense's number, its detectors, and below them its reformer, in narrow lines."""
    return textwrap.fill(f"{row['defense']}: {row['detector']}", 30) + f"\n→ {row['reformer']}"


def _intervals(rows: Sequence[Mapping[str, float | None]]) -> np.ndarray:
    """Value, low and high, (3, rows); what is not a number is left out of the picture."""
    keys = ("value", "low", "high")
    return np.array([[np.nan if row[key] is None else row[key] for row in rows] for key in keys], dtype=np.float64)


def _finish_bars(figure: Figure, axes: Axes, labels: Sequence[str]) -> None:
    """The frame of horizontal bars of Dice, a label a group, and their legend."""
    axes.set_yticks(np.arange(len(labels)), labels, fontsize=SMALL)
    axes.tick_params(axis="x", labelsize=SMALL)
    axes.set_xlim(0, 1.01)
    axes.set_ylim(len(labels) - 0.4, -0.6)  # the first on top, and its bars whole
    axes.set_xlabel("Dice", fontsize=FONT)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=SMALL)


def _panel(axes: Axes, image: np.ndarray, title: str, **settings: Any) -> None:
    axes.set_title(title, fontsize=SMALL)
    axes.set_axis_off()
    axes.imshow(image.T, origin="lower", interpolation="nearest", **settings)


def _wrapped(name: str) -> str:
    return name.replace(", ", ",\n")
