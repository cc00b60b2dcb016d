# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Detection by how the power of an image is spread over its frequencies."""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from typing_extensions import Self

from monai_shield.detectors.base import Detector
from monai_shield.detectors.views import Views
from monai_shield.info import Info
from monai_shield.transforms.spectrum import frequency_radius


class RadialLogPower(Detector):
    r"""
    Mahalanobis distance of an image's radial power spectrum to those of clean training images.

    The profile of an image is the mean logarithm of its power in rings :math:`R_k` of equal width,

    .. math:: a_k = \frac1{|R_k|} \sum_{f \in R_k} \log(N |F(f)|^2 + c), \quad
              R_k = \Big\{f : \frac{k}{2K} \le |f| < \frac{k+1}{2K}\Big\}, \quad
              s = \sqrt{(a - \mu)^\top \Sigma^{-1} (a - \mu)}

    with N the number of pixels and |f| in cycles per pixel. With the factor N, white noise has its variance as power,
    whatever the size of the image. Frequencies beyond 0.5, in the corners of the spectrum, count in the last ring:
    what is left out is where an attack can hide. Clean images have little power there, too, so a little noise shows.

    The floor c is there because a spectrum can be exactly zero, as that of a constant image or of one that was padded
    with zeros in the frequency domain; and because, of a power below the rounding errors of float32, the logarithm
    would be another one on every device.

    The profile is that of Durall et al. (2020, arXiv 2003.01826), the spectrum as evidence of an attack that of Harder
    et al. (2021, arXiv 2103.03000). Both train a classifier on the images to be found; here only clean ones are seen.

    Args:
        bins: K, the number of rings.
        channels: number of image channels, each with a profile of its own.
        floor: c, the variance of a noise too faint to matter, in squared units of the intensity window. The default is
            a deviation of 1e-5, about the rounding of a file of 16 bits.

    Raises:
        ValueError: for numbers that are not positive.
    """

    info = Info(
        "radial log power",
        "Harder et al., SpectralDefense: Detecting Adversarial Attacks on CNNs in the Fourier Domain",
        2021,
        "2103.03000",
    )
    mean: torch.Tensor
    precision: torch.Tensor

    def __init__(self, bins: int = 16, channels: int = 1, floor: float = 1e-10) -> None:
        super().__init__()
        if bins < 1 or channels < 1:
            raise ValueError(f"bins and channels must be positive, got {bins} and {channels}.")
        if not 0 < floor < math.inf:
            raise ValueError(f"floor must be positive and finite, got {floor}.")
        self.bins = bins
        self.channels = channels
        self.floor = floor
        # NaN until fitted: the score is then NaN, and NaN is rejected.
        self.register_buffer("mean", torch.full((channels * bins,), torch.nan))
        self.register_buffer("precision", torch.full((channels * bins, channels * bins), torch.nan))

    @classmethod
    def example(cls, spatial_size: Sequence[int]) -> Self:
        return cls(bins=4)

    def profile(self, views: Views) -> torch.Tensor:
        """
        The mean log power in each ring, (B, C * bins).

        Raises:
            ValueError: where the images have other channels, or are too small to have a frequency in every ring.
        """
        channels, *size = views.image.shape[1:]
        if channels != self.channels:
            raise ValueError(f"images of {channels} channels, but the detector is for {self.channels}.")
        order, counts = _rings(tuple(size), self.bins)
        if 0 in counts:
            raise ValueError(f"images of size {tuple(size)} have no frequency in one of {self.bins} rings: take fewer.")
        power = math.prod(size) * views.magnitude(shift=False).square()
        # rings are cut out one by one: a sum scattered over them would depend on the order of threads on a GPU
        by_ring = torch.log(power + self.floor).flatten(2).index_select(2, torch.from_numpy(order).to(power.device))
        return torch.stack([ring.mean(dim=2) for ring in by_ring.split(counts, dim=2)], dim=2).flatten(1)

    def _fit(self, views: Iterable[Views]) -> None:
        # neighboring rings go together and images may be few: the covariance is shrunk (Ledoit and Wolf 2004)
        profiles = [profile for each in views for profile in self.profile(each).cpu().double()]
        if len(profiles) < 2:
            raise ValueError(f"at least two images are needed to fit a covariance, got {len(profiles)}.")
        stacked = torch.stack(profiles).numpy()
        if not np.isfinite(stacked).all():
            raise ValueError("a training image has NaN or infinite pixels.")
        if not np.ptp(stacked, axis=0).any():
            raise ValueError("the training images have one and the same power: there is no covariance to fit.")
        estimate = LedoitWolf().fit(stacked)
        self.mean.copy_(torch.from_numpy(estimate.location_))
        self.precision.copy_(torch.from_numpy(estimate.precision_))

    def forward(self, views: Views) -> torch.Tensor:
        deviation = self.profile(views) - self.mean
        # element by element: a matrix product would be rounded to half precision under autocast
        squared = (deviation[:, :, None] * self.precision * deviation[:, None, :]).sum(dim=(1, 2))
        return squared.clamp_min(torch.finfo(squared.dtype).tiny).sqrt()


@lru_cache(maxsize=16)
def _rings(size: tuple[int, ...], bins: int) -> tuple[np.ndarray, list[int]]:
    """Flat indices of the frequencies (the zero frequency at 0), ring after ring, and how many each ring has."""
    # the small number keeps a frequency on the border of two rings in the outer one, whatever the rounding
    ring = np.minimum(2 * bins * frequency_radius(size).numpy() + 1e-9, bins - 1).astype(np.int64).ravel()
    return np.argsort(ring, kind="stable"), np.bincount(ring, minlength=bins).tolist()
