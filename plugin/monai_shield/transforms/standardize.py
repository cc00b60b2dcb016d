# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Standardization per frequency: without it the mean intensity, thousands of times larger, hides every other one."""

import math
from collections.abc import Iterable
from pathlib import Path

import torch
from monai.config.type_definitions import NdarrayOrTensor
from typing_extensions import Self

from monai_shield.transforms.each_key import EachKeyd
from monai_shield.transforms.fourier import SpectralTransform, checked
from monai_shield.utils import first_line, read_weights, save_tensors


class StandardizeFrequency(SpectralTransform):
    """
    Standardize every element of a real spectrum by its own mean and deviation over a set of clean spectra:
    ``(x - mean) / (std + eps)``.

    Args:
        mean: (C, H[, W[, D]]), per element of the spectrum.
        std: the deviations, of the same shape.
        eps: added to every deviation, so that spectra of nothing but zeros are safe.

    Raises:
        ValueError: When the shapes of ``mean`` and ``std`` differ, they are not finite, a deviation is negative, or
            ``eps`` is not positive and finite.
    """

    def __init__(self, mean: torch.Tensor, std: torch.Tensor, eps: float = 1e-12) -> None:
        if not 0 < eps < math.inf:
            raise ValueError(f"eps must be positive and finite, got {eps}.")
        if mean.shape != std.shape:
            raise ValueError(f"mean has shape {tuple(mean.shape)}, but std has shape {tuple(std.shape)}.")
        if not bool((mean.isfinite() & std.isfinite() & (std >= 0)).all()):
            raise ValueError("mean and std must be finite, and std must not be negative.")
        self.mean = mean
        self.std = std
        self.eps = eps

    @property
    def scale(self) -> torch.Tensor:
        """The divisor ``std + eps``, always positive, (C, H[, W[, D]])."""
        return self.std + self.eps

    @classmethod
    def fit(cls, spectra: Iterable[NdarrayOrTensor], relative_floor: float = 1e-5, eps: float = 1e-12) -> Self:
        """
        Measure mean and population deviation in one pass over ``spectra``, in float64 by Welford's update
        ``mean += (x - mean) / n``, ``m2 += (x - old mean) * (x - new mean)``, which does not cancel.

        A frequency that is constant over the set up to rounding (the mean of images normalized by it, what lies outside
        a band limit) would blow rounding errors up to large values. So no deviation is less than ``relative_floor``
        times the larger of the frequency's own ``|mean|`` and the root mean square of the spectra over all frequencies:
        rounding is relative to the one or, as a Fourier transform spreads it evenly, to the other. The default is a
        hundred times the rounding of float32, and far under what varies from image to image.

        Args:
            spectra: real spectra of one shape, each (C, H[, W[, D]]), taken one at a time.
            relative_floor: the floor's factor, at least 0.
            eps: as in the constructor.

        Raises:
            ValueError: When there are fewer than two spectra, their shapes differ, one is complex or not finite, or
                ``relative_floor`` is negative or not finite.
        """
        if not 0 <= relative_floor < math.inf:
            raise ValueError(f"relative_floor must be finite and at least 0, got {relative_floor}.")
        count, mean, m2 = 0, torch.empty(0), torch.empty(0)
        for spectrum in spectra:
            tensor = checked(spectrum).detach()
            x = _real_of_shape(tensor, mean.shape if count else tensor.shape).double()
            if count == 0:
                mean, m2 = torch.zeros_like(x), torch.zeros_like(x)
            count += 1
            delta = x - mean
            mean += delta / count
            m2 += delta * (x - mean)
        if count < 2:
            raise ValueError(f"at least two spectra are needed to fit a deviation, got {count}.")
        variance = m2 / count
        root_mean_square = (mean.square() + variance).mean().sqrt()
        floor = relative_floor * mean.abs().maximum(root_mean_square)
        return cls(mean, variance.sqrt().maximum(floor), eps)

    def convert(self, tensor: torch.Tensor, spatial_dims: int) -> torch.Tensor:
        spectrum = _real_of_shape(tensor, self.mean.shape)
        return (spectrum - self.mean.to(spectrum)) / self.scale.to(spectrum)

    def save(self, path: str | Path) -> None:
        """Write the statistics to ``path``, whole or not at all."""
        save_tensors({"mean": self.mean.cpu(), "std": self.std.cpu(), "eps": self.eps}, path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """
        Read what :meth:`save` wrote. A bundle config can name it:
        ``_target_: monai_shield.transforms.StandardizeFrequency.load``.

        Raises:
            FileNotFoundError: When there is no such file.
            ValueError: When the file does not hold the statistics of a standardizer.
        """
        try:
            state = read_weights(path)
            if not isinstance(state, dict):
                raise TypeError(f"it holds a {type(state).__name__}.")
            return cls(state["mean"], state["std"], state["eps"])
        except FileNotFoundError:
            raise
        except Exception as error:
            raise ValueError(f"'{path}' does not hold the statistics of a spectrum: {first_line(error)}") from error


def _real_of_shape(spectrum: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    if spectrum.is_complex():
        raise ValueError(f"expected a real spectrum, got {spectrum.dtype}.")
    if spectrum.shape != shape:
        raise ValueError(f"fitted on spectra of shape {tuple(shape)}, got shape {tuple(spectrum.shape)}.")
    return spectrum if spectrum.is_floating_point() else spectrum.float()


def _standardizer(standardizer: StandardizeFrequency | str | Path) -> StandardizeFrequency:
    if isinstance(standardizer, StandardizeFrequency):
        return standardizer
    return StandardizeFrequency.load(standardizer)


class StandardizeFrequencyd(EachKeyd):
    """Dictionary form of a ``standardizer``: a :class:`StandardizeFrequency`, or the path of a saved one."""

    array, held_as = staticmethod(_standardizer), "standardizer"
