# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Detection by reconstruction error, in space or in the frequency domain: the detectors of the paper."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from typing_extensions import Self

from monai_shield.detectors.base import Detector
from monai_shield.detectors.precision import at_least_float32, in_own_type
from monai_shield.detectors.views import Views
from monai_shield.info import Info
from monai_shield.transforms import StandardizeFrequency

Domain = Literal["space", "frequency", "shifted_frequency"]
Part = Literal["magnitude", "log_magnitude", "real_imaginary"]
Scaling = Literal["per_frequency", "global", "none"]


class ReconstructionDetector(Detector):
    r"""
    Reconstruction error of a network that was trained on clean images only (Park et al. 2020, arXiv 2009.11090; Meng
    and Chen 2017, arXiv 1705.09064):

    .. math:: \mathrm{RE}(x) = \lVert v(x) - D(v(x)) \rVert_p

    where v is the image itself, its spectrum, or that with the zero frequency in the center. In the frequency domain
    each frequency is standardized by its mean and deviation over clean training images: without that, a squared error
    sees little but the mean intensity. The other ways to scale are there to show it.

    Args:
        network: D, from and to (B, C, H, W[, D]).
        domain: "space", "frequency" or "shifted_frequency".
        spatial_size: size of the images, which fixes the frequency grid; needed in the frequency domain.
        channels: number of image channels.
        part: "magnitude", "log_magnitude" or "real_imaginary" (twice the channels) of the spectrum.
        p: the norm, at least 1; ``float("inf")`` for the largest deviation.
        scaling: "per_frequency", by the mean and deviation of each; "global", by one mean and deviation over all; or
            "none".

    Raises:
        ValueError: for an unknown domain, part or scaling, p below 1, or no spatial size in the frequency domain.
    """

    info = Info(
        "reconstruction error",
        "Park et al., Robustification of Segmentation Models Against Adversarial Perturbations in Medical Imaging",
        2020,
        "2009.11090",
    )
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
        scaling: Scaling = "per_frequency",
    ) -> None:
        super().__init__()
        for name, value, known in (("domain", domain, Domain), ("part", part, Part), ("scaling", scaling, Scaling)):
            if value not in get_args(known):
                raise ValueError(f"unknown {name} '{value}': choose one of {', '.join(get_args(known))}.")
        if p < 1:
            raise ValueError(f"p must be at least 1, got {p}.")
        self.network = network
        self.domain = domain
        self.part = part
        self.p = p
        self.scaling = scaling
        if domain != "space":
            if spatial_size is None:
                raise ValueError("a detector in the frequency domain needs the spatial_size of its images.")
            size = ((2 if part == "real_imaginary" else 1) * channels, *spatial_size)
            # NaN until fitted: a detector whose scale was forgotten scores NaN, and NaN is rejected.
            self.register_buffer("mean", torch.full(size, torch.nan if scaling != "none" else 0.0))
            self.register_buffer("std", torch.full(size, torch.nan if scaling != "none" else 1.0))

    @classmethod
    def example(cls, spatial_size: Sequence[int]) -> Self:
        kind = torch.nn.Conv2d if len(spatial_size) == 2 else torch.nn.Conv3d
        return cls(kind(1, 1, 3, padding=1), spatial_size=spatial_size)

    def unscaled(self, views: Views) -> torch.Tensor:
        """The representation before standardization, (B, C, H, W[, D])."""
        if self.domain == "space":
            return views.image
        shift = self.domain == "shifted_frequency"
        if self.part == "real_imaginary":
            spectrum = views.spectrum(shift)
            return self._checked(torch.cat([spectrum.real, spectrum.imag], dim=1), views)
        magnitude = self._checked(views.magnitude(shift), views)
        return magnitude if self.part == "magnitude" else torch.log(magnitude + torch.finfo(magnitude.dtype).eps)

    def _checked(self, view: torch.Tensor, views: Views) -> torch.Tensor:
        if view.shape[1:] != self.mean.shape:
            raise ValueError(
                f"image of shape {tuple(views.image.shape[1:])}, but the detector's frequencies are those of "
                f"{tuple(self.mean.shape)}."
            )
        return view

    def _fit(self, views: Iterable[Views]) -> None:
        standardize = StandardizeFrequency.fit(spectrum for each in views for spectrum in self.unscaled(each))
        mean, scale = standardize.mean, standardize.scale
        if self.scaling == "global":
            # the deviation over all frequencies is that within each and that of their means
            scale = (standardize.std.square().mean() + mean.var(correction=0)).sqrt()
            mean = mean.mean()
        self.mean.copy_(mean.expand_as(self.mean))
        self.std.copy_(scale.expand_as(self.std))

    def represent(self, views: Views) -> torch.Tensor:
        """What the network sees and reconstructs, (B, C, H, W[, D])."""
        view = self.unscaled(views)
        return view if self.domain == "space" else (view - self.mean) / self.std

    def forward(self, views: Views) -> torch.Tensor:
        view = at_least_float32(self.represent(views))
        return torch.linalg.vector_norm((view - in_own_type(self.network, view)).flatten(1), ord=self.p, dim=1)


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
