# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What attacks do to spectra: that of one slice, and the mean over all by radius."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_shield.transforms.spectrum import frequency_magnitude, frequency_radius
from monai_shield.utils import atomic_path
from reproduction.image_set import VARIANTS, ImageSet
from reproduction.study import DefenseStudy

#: Floor of the logarithm, well under the magnitude that rounding to 8 bits alone gives every frequency.
FLOOR = 1e-7


def radial_power(images: torch.Tensor, rings: int = 48) -> np.ndarray:
    """
    Mean of log10 of the power at each radius of the spectrum, from 0 to 0.5 cycles per pixel.

    Args:
        images: (B, C, H, W[, D]).
        rings: of equal width; what lies beyond the last, in the corners, is left out.

    Returns:
        (rings,), each the mean over images and frequencies; NaN for a ring that holds no frequency.
    """
    spatial_dims = images.ndim - 2
    power = (frequency_magnitude(images, spatial_dims, shift=False) + FLOOR).log10().mul(2).double().mean(dim=(0, 1))
    ring = (frequency_radius(images.shape[2:]) * 2 * rings).long().flatten()
    inside = ring < rings
    sums = torch.zeros(rings, dtype=torch.float64).index_add_(0, ring[inside], power.flatten()[inside])
    return (sums / ring[inside].bincount(minlength=rings)).numpy()


def study_spectra(study: DefenseStudy) -> dict[str, np.ndarray]:
    """
    Of the first target: "radial <name>" for "clean" and for every attack and variant, from the slices that all attacks
    share, or from all of each where they share none; and of one slice "spectrum <name>", the log magnitude with the
    zero frequency in the center, and, for an attack, "perturbation <name>". An attack that was not made from that slice
    shows one of its own.
    """
    target = next(iter(study.grid.targets))
    clean = study.images.images(ImageSet("clean"))
    rows = {name: study.images.clean_rows(name) for name in study.grid.attacks}
    # the slice in the middle of those of the first scan that the most attacks were made from
    first = study.images.owners(ImageSet("clean")).count(next(iter(study.data.volumes)))
    made = [sum(row in each for each in rows.values()) for row in range(first)]
    places = [row for row in range(first) if made[row] == max(made)]
    place = places[len(places) // 2]
    common = [row for row in range(len(clean)) if all(row in each for each in rows.values())]
    found: dict[str, Any] = {
        "radial clean": radial_power(clean[common] if common else clean),
        "spectrum clean": _log_magnitude(clean[place]),
        "unshifted clean": _log_magnitude(clean[place], shift=False),
    }
    for name, each in rows.items():
        own = place if place in each else each[len(each) // 2]
        for variant in VARIANTS:
            images = study.images.images(ImageSet(name, target, variant))
            image = images[each.index(own)]
            shared = [each.index(row) for row in common]
            found[f"radial {name}, {variant}"] = radial_power(images[shared] if shared else images)
            found[f"spectrum {name}, {variant}"] = _log_magnitude(image)
            found[f"perturbation {name}, {variant}"] = (image - clean[own])[0].half().numpy()
    return found


def write_spectra(study: DefenseStudy) -> Path:
    """Write them beside the cells; returns the file."""
    path = study.output_dir / "spectra.npz"
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **study_spectra(study))  # type: ignore[arg-type]
    return path


def _log_magnitude(image: torch.Tensor, shift: bool = True) -> np.ndarray:
    """(H, W) of an image (C, H, W), its first channel."""
    return (frequency_magnitude(image[:1], image.ndim - 1, shift)[0] + FLOOR).log().half().numpy()
