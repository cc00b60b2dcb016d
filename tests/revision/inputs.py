# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Small inputs that are the same on every machine, and tiny networks in float64, which no rounding makes diverge."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from torch import nn

CLASSES = 4
LAS = np.diag([-1.0, 1.0, 1.0, 1.0])


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    """Numbers in [0, 1), float64."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Segmenter(nn.Module):
    """A convolution, batch statistics, dropout, and one class a channel."""

    def __init__(self, dims: int, channels: int, classes: int) -> None:
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
        self.features = nn.Sequential(conv(channels, 6, 3, padding=1), norm(6), nn.Tanh(), nn.Dropout(0.5))
        self.classes = conv(6, classes, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classes(self.features(image))


def network(dims: int = 2, channels: int = 1, classes: int = CLASSES, seed: int = 1) -> nn.Module:
    """A segmenter with weights of a seed, float64."""
    made = Segmenter(dims, channels, classes).double()
    for number, parameter in enumerate(made.parameters()):
        parameter.data = draw(*parameter.shape, seed=100 * seed + number) - 0.5
    return made.eval()


class Bright(nn.Module):
    """Class 1 where a pixel is above one half of the window, and, of three classes, class 2 where it is above 0.8."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(20.0))
        self.classes = classes

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = [0 * image, self.slope * (image - 0.5), 2 * self.slope * (image - 0.65)]
        return torch.cat(logits[: self.classes], dim=1)


class TinyTarget(nn.Module):
    """Two convolutions from an image to three classes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, 3, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


class Blur(nn.Module):
    """Mean of 3 x 3 pixels or 3 x 3 x 3 voxels."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pool = nn.functional.avg_pool2d if image.ndim == 4 else nn.functional.avg_pool3d
        return pool(image, 3, 1, 1)


def brains(number: int, *size: int, seed: int = 0) -> torch.Tensor:
    """Images with something in the middle and zeros around it, (number, 1, size), float64."""
    image = draw(number, 1, *size, seed=seed) * 0.8 + 0.2
    for axis, length in enumerate(size):
        place = torch.linspace(-1, 1, length, dtype=torch.float64)
        inside = (place.abs() < 0.8).reshape([-1 if each == axis else 1 for each in range(len(size))])
        image = image * inside
    share = torch.linspace(0.6, 1.0, number, dtype=torch.float64).reshape(-1, *[1] * (len(size) + 1))
    row = torch.linspace(0, 1, size[0], dtype=torch.float64).reshape(1, 1, -1, *[1] * (len(size) - 1))
    return image * (row < share)


def brain(seed: int = 0, shape: tuple[int, ...] = (40, 44, 36)) -> np.ndarray:
    """A "brain" in LAS: whole numbers 20 to 100 in an ellipsoid off the center, 0 outside, float64."""
    grid = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    inside = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, (0.04, -0.03, 0.06), (0.84, 0.88, 0.80))) < 1
    noise = np.random.default_rng(seed).random(shape)
    values = 58 + 20 * np.sin(3 * grid[0] + seed) * np.cos(4 * grid[1]) + 10 * grid[2] + 8 * (noise - 0.5)
    return np.where(inside, np.clip(np.rint(values), 20, 100), 0)


def nifti(path: Path, values: np.ndarray, affine: np.ndarray = LAS, dtype: Any = np.int16, slope: float = 1) -> Path:
    """Write a file, centered unless the affine says where it lies."""
    affine = np.array(affine, dtype=float)
    if not affine[:3, 3].any() and values.ndim > 2:
        affine[:3, 3] = -affine[:3, :3] @ ((np.array(values.shape[:3]) - 1) / 2)
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    image = nib.Nifti1Image(values.astype(dtype), affine, header)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    if slope != 1:
        image.header.set_slope_inter(slope, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path
