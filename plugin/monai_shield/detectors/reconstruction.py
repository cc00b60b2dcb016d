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
"""Detection by reconstruction error, in space or in the frequency domain: the detectors of the paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from typing_extensions import Self

from monai_shield.transforms import StandardizeFrequency

from .base import Detector
from .views import Views

__all__ = ["Domain", "ReconstructionBatch", "ReconstructionDetector"]

Domain = Literal["space", "frequency", "shifted_frequency"]
Part = Literal["magnitude", "log_magnitude"]


class ReconstructionDetector(Detector):
    r"""
    Reconstruction error of a network that was trained on clean images only (Park et al. 2020, arXiv 2009.11090; Meng
    and Chen 2017, arXiv 1705.09064):

    .. math:: \mathrm{RE}(x) = \lVert v(x) - D(v(x)) \rVert_p

    where v is the image itself, the magnitude of its spectrum, or that with the zero frequency in the center. In the
    frequency domain each frequency is standardized by its mean and deviation over clean training images: without
    that, a squared error sees little but the mean intensity.

    Args:
        network: D, from and to (B, C, H, W[, D]).
        domain: "space", "frequency" or "shifted_frequency".
        spatial_size: size of the images, which fixes the frequency grid; needed in the frequency domain.
        channels: number of image channels.
        part: "magnitude" or "log_magnitude" of the spectrum.
        p: the norm, at least 1; ``float("inf")`` for the largest deviation.

    Raises:
        ValueError: for an unknown domain or part, p below 1, or no spatial size in the frequency domain.
    """

    info = {"title": "reconstruction error", "source": "arXiv 2009.11090"}  # noqa: RUF012
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        network: torch.nn.Module,
        domain: Domain = "shifted_frequency",
        spatial_size: Sequence[int] | None = None,
        channels: int = 1,
        part: Part = "magnitude",
        p: float = 2.0,
    ) -> None:
        super().__init__()
        if domain not in ("space", "frequency", "shifted_frequency"):
            raise ValueError(f"unknown domain '{domain}': choose 'space', 'frequency' or 'shifted_frequency'.")
        if part not in ("magnitude", "log_magnitude"):
            raise ValueError(f"unknown part '{part}': choose 'magnitude' or 'log_magnitude'.")
        if p < 1:
            raise ValueError(f"p must be at least 1, got {p}.")
        self.network = network
        self.domain = domain
        self.part = part
        self.p = p
        if domain != "space":
            if spatial_size is None:
                raise ValueError("a detector in the frequency domain needs the spatial_size of its images.")
            # NaN until fitted: a detector whose scale was forgotten scores NaN, and NaN is rejected.
            unknown = torch.full((channels, *spatial_size), torch.nan)
            self.register_buffer("mean", unknown)
            self.register_buffer("std", unknown.clone())

    def unscaled(self, views: Views) -> torch.Tensor:
        """The representation before standardization, (B, C, H, W[, D])."""
        if self.domain == "space":
            return views.image
        if views.image.shape[1:] != self.mean.shape:
            raise ValueError(
                f"image of shape {tuple(views.image.shape[1:])}, but the detector's frequencies are those of "
                f"{tuple(self.mean.shape)}."
            )
        magnitude = views.magnitude(shift=self.domain == "shifted_frequency")
        return magnitude if self.part == "magnitude" else torch.log(magnitude + torch.finfo(magnitude.dtype).eps)

    def fit(self, images: Iterable[torch.Tensor]) -> Self:
        """
        Fit the scale of every frequency on clean training images; does nothing in space.

        Args:
            images: single images, (C, H, W[, D]).
        """
        if self.domain != "space":
            standardize = StandardizeFrequency.fit(self.unscaled(Views(image[None]))[0] for image in images)
            self.mean.copy_(standardize.mean)
            self.std.copy_(standardize.scale)
        return self

    def represent(self, views: Views) -> torch.Tensor:
        """What the network sees and reconstructs, (B, C, H, W[, D])."""
        view = self.unscaled(views)
        return view if self.domain == "space" else (view - self.mean) / self.std

    def forward(self, views: Views) -> torch.Tensor:
        view = self.represent(views)
        return torch.linalg.vector_norm((view - self.network(view)).flatten(1), ord=self.p, dim=1)


class ReconstructionBatch:
    """
    A ``prepare_batch`` for MONAI's trainer: the network's input and its label are both the detector's view of an image.

    Args:
        detector: the detector in training.
        key: key of the image in a batch.
    """

    def __init__(self, detector: ReconstructionDetector, key: str = "image") -> None:
        self.detector = detector
        self.key = key

    def __call__(
        self, batchdata: Mapping[str, Any], device: Any = None, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        image = batchdata[self.key].to(device=device, non_blocking=non_blocking, **kwargs)
        view = self.detector.represent(Views(image))
        return view, view
