# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The figure of an attack on files: a slice of each, before and after, and what the network answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.gridspec import GridSpec
from monai.transforms.utils import generate_spatial_bounding_box

from monai_shield.report.figures import rendered, structure_colors
from monai_shield.transforms.nifti import load_nifti

WIDTH = 12.0  # inches
ROW_HEIGHT = 2.75
MARGIN = 4  # pixels around the foreground
FAINT = 0.05  # of the window: what is darker is not worth showing
TITLES = ("clean image", "perturbation", "attacked image", "prediction, clean", "prediction, attacked")


@dataclass(frozen=True)
class AttackedSlice:
    """
    One slice of a file before and after an attack, as a radiologist looks at it: the patient's left on the right.

    Args:
        caption: what stands above it.
        clean: intensities of the clean file, 0 to 1 the window, clipped to it, (W, H).
        attacked: of the attacked file.
        before: class of each pixel predicted on the clean file.
        after: on the attacked file.
        aspect: height of a pixel over its width.
    """

    caption: str
    clean: np.ndarray
    attacked: np.ndarray
    before: np.ndarray
    after: np.ndarray
    aspect: float

    @classmethod
    def of_files(
        cls,
        clean: str | Path,
        attacked: str | Path,
        before: str | Path,
        after: str | Path,
        window: tuple[float, float],
        world_axis: int,
        caption: str = "",
    ) -> AttackedSlice:
        """
        The slice in which the prediction of most voxels changed.

        Args:
            clean: the clean file; of several channels the first is shown.
            attacked: the attacked file.
            before: prediction on the clean file.
            after: prediction on the attacked file.
            window: intensities drawn black and white, in the unit of the file.
            world_axis: axis of the world the slices lie along: 0 sagittal, 1 coronal, 2 axial.
            caption: what stands above it.
        """
        low, high = window
        images, zooms = zip(*(_upright(file) for file in (clean, attacked)))
        first, second = (np.clip((image[..., 0] - low) / (high - low), 0, 1) for image in images)
        one, two = (_classes(_upright(file)[0]) for file in (before, after))
        changed = np.moveaxis(one != two, world_axis, 0).reshape(one.shape[world_axis], -1).sum(1)
        if not changed.any():  # then where there is most to see
            changed = np.moveaxis(first > FAINT, world_axis, 0).reshape(len(changed), -1).sum(1)
        place = int(changed.argmax())
        planes = [np.take(volume, place, world_axis) for volume in (first, second, one, two)]
        if world_axis != 0:
            planes = [plane[::-1] for plane in planes]
        if (planes[0] > FAINT).any():
            ends = generate_spatial_bounding_box(planes[0][None], lambda x: x > FAINT, None, MARGIN, allow_smaller=True)
            planes = [plane[tuple(map(slice, *ends))] for plane in planes]
        width, height = (size for axis, size in enumerate(zooms[0]) if axis != world_axis)
        first, second, one, two = planes
        return cls(caption, first, second, one, two, float(height / width))


def attack_figure(views: Sequence[AttackedSlice], title: str = "") -> bytes:
    """A PNG file with a row for each slice: clean image, perturbation, attacked image, both predictions."""
    figure = Figure((WIDTH, 0.4 + ROW_HEIGHT * len(views)), dpi=100)
    grid = GridSpec(len(views) + 1, 1, figure, height_ratios=[0.4, *[ROW_HEIGHT] * len(views)])
    figure.add_subfigure(grid[0]).text(0.5, 0.4, title, ha="center", va="center", fontsize="large")
    colors = structure_colors(1 + max(2, *(int(max(view.before.max(), view.after.max())) for view in views)))
    for row, view in enumerate(views):
        _draw_row(figure.add_subfigure(grid[row + 1]), view, colors)
    return rendered(figure)


def _draw_row(figure: SubFigure, view: AttackedSlice, colors: ListedColormap) -> None:
    figure.text(0.005, 0.975, view.caption, va="top", fontsize="medium", fontweight="bold")
    widths = (1, 1, 0.16, 1, 1, 1)  # the third holds the scale
    grid = GridSpec(1, 6, left=0.005, right=0.995, bottom=0.01, top=0.84, wspace=0.04, width_ratios=widths)
    panels = [figure.add_subplot(grid[column]) for column in (0, 1, 3, 4, 5)]
    change = 100 * (view.attacked - view.clean)
    largest = float(np.abs(change).max()) or 1.0
    gray: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1}
    shown: list[tuple[tuple[np.ndarray, dict[str, Any]], ...]] = [
        ((view.clean, gray),),
        ((change, {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}),),
        ((view.attacked, gray),),
        *(
            ((image, gray), (label, {"cmap": colors, "vmin": -0.5, "vmax": colors.N - 0.5, "alpha": 0.75}))
            for image, label in ((view.clean, view.before), (view.attacked, view.after))
        ),
    ]
    for panel, layers, name in zip(panels, shown, TITLES):
        panel.set_axis_off()
        panel.set_title(name, fontsize="medium")
        for image, settings in layers:
            last = panel.imshow(image.T, origin="lower", interpolation="nearest", aspect=view.aspect, **settings)
        if name == "perturbation":
            # inside the panel's own height, whatever its aspect
            scale = panel.inset_axes((1.02, 0, 0.05, 1))
            figure.colorbar(last, cax=scale, ticks=[-largest, 0, largest], format="%.2g")
            scale.tick_params(labelsize="x-small", pad=1, length=2)
            scale.set_title("%", fontsize="x-small")


def _upright(file: str | Path) -> tuple[np.ndarray, tuple[float, ...]]:
    """Voxels of a file (R, A, S, channels), from right to left, posterior to anterior, inferior to superior; sizes."""
    image = load_nifti(file)
    values = np.asarray(image.dataobj, dtype=np.float32)
    values = values.reshape(*values.shape, *[1] * (4 - values.ndim))
    turned: Any = nib.as_closest_canonical(nib.Nifti1Image(values, image.affine))
    return np.asarray(turned.dataobj), tuple(float(size) for size in turned.header.get_zooms()[:3])


def _classes(label: np.ndarray) -> np.ndarray:
    """One class a voxel (R, A, S); of overlapping structures (R, A, S, K) one for each combination."""
    if label.shape[-1] == 1:
        return label[..., 0].astype(int)
    return (label.astype(int) << np.arange(label.shape[-1])).sum(-1)
