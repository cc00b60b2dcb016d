# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures of an attack and of its defense: no global state, each function draws on the figure it is given."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, FigureBase
from matplotlib.gridspec import GridSpec

from monai_shield.transforms import FrequencyConverter

#: Width in inches of every figure; at 100 dots an inch it fills a page and still reads on a phone.
WIDTH = 10.0
#: Height of the one with everything.
HEIGHT = 14.2
DPI = 100
COLORS = {"clean": "tab:blue", "attacked": "tab:red"}
Scans = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class SliceView:
    """
    One slice before and after an attack, as a radiologist sees it: superior up, the patient's left on the right.

    Args:
        clean: intensities in windows, (H, W); the axes of the file, its first one drawn from left to right.
        attacked: intensities of the attacked slice.
        before: the network's segmentation of the clean slice, class indices (H, W).
        after: its segmentation of the attacked slice.
        defended: its segmentation of the attacked slice once that was reformed.
        classes: number of classes, background included.
        spectrum_size: size to which slices are padded with background before they are transformed, as for the network.
        rejected: whether the shield rejected the slice; None where it was not scored.
    """

    clean: np.ndarray
    attacked: np.ndarray
    before: np.ndarray
    after: np.ndarray
    defended: np.ndarray
    classes: int
    spectrum_size: tuple[int, int]
    rejected: bool | None = None


def log_spectrum(image: np.ndarray, size: tuple[int, int] | None = None, shift: bool = True) -> np.ndarray:
    """
    Logarithm of the magnitude of a slice's spectrum, as the shield's converter computes it.

    Args:
        image: (H, W).
        size: pad the slice with zeros to this size; where they are put does not change a magnitude.
        shift: put the zero frequency in the center.

    Raises:
        ValueError: where the slice is larger than `size`.
    """
    height, width = size or image.shape
    missing = (height - image.shape[0], width - image.shape[1])
    if min(missing) < 0:
        raise ValueError(f"a slice of shape {image.shape} is larger than {(height, width)}.")
    padded = np.pad(image.astype(np.float32), [(0, missing[0]), (0, missing[1])])
    return FrequencyConverter("log_magnitude", shift)(torch.from_numpy(padded)[None])[0].numpy()


def structure_colors(classes: int) -> ListedColormap:
    """One color a class, the background transparent; neighbors in the list are the dark and the light of one hue."""
    maps = (matplotlib.colormaps[name] for name in ("tab20", "tab20b", "tab20c"))
    colors = [tuple(color) for each in maps for color in each(np.arange(each.N))]
    chosen = [colors[index % len(colors)] for index in range(classes - 1)]
    return ListedColormap([(0.0, 0.0, 0.0, 0.0), *chosen], name="structures")


def draw_images(figure: FigureBase, view: SliceView) -> None:
    """The clean slice, the attacked slice, and their difference."""
    (first, second, third), scale = _three_panels(figure)
    _gray(first, view.clean, "clean image")
    _gray(second, view.attacked, "attacked image")
    difference = 100 * (view.attacked - view.clean)
    largest = float(np.abs(difference).max()) or 1.0
    shown = _show(third, difference, "perturbation", cmap="RdBu_r", vmin=-largest, vmax=largest)
    figure.colorbar(shown, cax=scale, label="% of the intensity window")


def draw_segmentations(figure: FigureBase, view: SliceView) -> None:
    """The target's answer to the clean slice, to the attacked one, and to the attacked one once it was reformed."""
    axes, beside = _three_panels(figure)
    beside.set_axis_off()
    colors = structure_colors(view.classes)
    verdict = {True: " (rejected)", False: " (accepted)", None: ""}[view.rejected]
    panels = (
        (view.clean, view.before, "segmentation before"),
        (view.attacked, view.after, "attacked, undefended"),
        (view.attacked, view.defended, f"attacked, reformed{verdict}"),
    )
    for each, (image, label, title) in zip(axes, panels):
        _gray(each, image, title)
        _show(each, label, title, cmap=colors, vmin=-0.5, vmax=view.classes - 0.5)


def draw_spectra(figure: FigureBase, view: SliceView) -> None:
    """Log spectra as in Figures 2 and 3 of Park et al. 2020 (arXiv 2009.11090): unshifted, shifted, and attacked."""
    axes, scale = _three_panels(figure)
    size = view.spectrum_size
    plain, clean = log_spectrum(view.clean, size, shift=False), log_spectrum(view.clean, size)
    attacked = log_spectrum(view.attacked, size)
    low, high = (float(bound) for bound in np.percentile(np.stack([clean, attacked]), [0.5, 100]))
    panels = ((plain, "clean spectrum, not shifted"), (clean, "clean spectrum"), (attacked, "attacked spectrum"))
    for each, (spectrum, title) in zip(axes, panels):
        shown = _show(each, spectrum, title, cmap="magma", vmin=low, vmax=high)
    figure.colorbar(shown, cax=scale, label="log magnitude")


def draw_scores(figure: FigureBase, scans: Scans, threshold: float, slab: tuple[float, float] | None = None) -> None:
    """
    The score of every slice of each scan against the threshold, in order of its position; the attacked slab is shaded.

    Args:
        figure: to draw on.
        scans: "clean" and "attacked" to the records of their slices: "position_mm" and "score".
        threshold: of a slice.
        slab: its ends, in mm.
    """
    axes = figure.subplots(gridspec_kw={"left": 0.06, "right": 0.99, "bottom": 0.24, "top": 0.92})
    if slab is not None:
        axes.axvspan(*slab, color="tab:orange", alpha=0.18, lw=0, label="attacked slab")
    for name, slices in scans.items():
        points = sorted((each["position_mm"], each["score"]) for each in slices if each["score"] is not None)
        positions, scores = ([point[i] for point in points] for i in range(2))
        axes.plot(positions, scores, color=COLORS[name], marker=".", ms=4, lw=1, label=f"{name} scan")
    axes.axhline(threshold, color="black", ls="--", lw=1, label="threshold: rejected above")
    axes.set_xlabel("position of the coronal slice, mm (posterior – anterior)")
    axes.set_ylabel("score")
    axes.set_title("how strange the detector finds each slice", fontsize="medium")
    axes.margins(x=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=4, frameon=False, fontsize="small")


def png(draw: Callable[..., None], *arguments: Any, height: float = 3.6) -> bytes:
    """A PNG file of one drawing function's picture, `height` inches high."""
    figure = Figure((WIDTH, height), dpi=DPI)
    draw(figure, *arguments)
    return rendered(figure)


def one_figure(
    view: SliceView, scans: Scans, threshold: float, slab: tuple[float, float] | None, title: str = ""
) -> bytes:
    """A PNG file of everything: images, segmentations, spectra and scores, from top to bottom."""
    figure = Figure((WIDTH, HEIGHT), dpi=DPI)
    grid = GridSpec(5, 1, height_ratios=(0.08, 1, 1, 1, 1))
    head, images, segmentations, spectra, scores = (figure.add_subfigure(grid[row]) for row in range(5))
    head.text(0.5, 0.4, title, ha="center", va="center", fontsize="large")
    draw_images(images, view)
    draw_segmentations(segmentations, view)
    draw_spectra(spectra, view)
    draw_scores(scores, scans, threshold, slab)
    return rendered(figure)


def rendered(figure: Figure, dpi: int = DPI) -> bytes:
    """A PNG file of a figure, the same for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def _three_panels(figure: FigureBase) -> tuple[list[Axes], Axes]:
    """Three panels of one size in whatever row they stand, and a narrow one beside them for a scale."""
    grid = GridSpec(1, 4, left=0.01, right=0.92, bottom=0.02, top=0.9, wspace=0.03, width_ratios=(1, 1, 1, 0.05))
    *panels, beside = (figure.add_subplot(grid[column]) for column in range(4))
    return panels, beside


def _gray(axes: Axes, image: np.ndarray, title: str) -> None:
    _show(axes, image, title, cmap="gray", vmin=0, vmax=1)


def _show(axes: Axes, image: np.ndarray, title: str, **settings: Any) -> Any:
    axes.set_title(title, fontsize="medium")
    axes.set_axis_off()
    return axes.imshow(image.T, origin="lower", interpolation="nearest", **settings)
