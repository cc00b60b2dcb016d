# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The converter: from an image to its discrete Fourier spectrum and to the real channels that a detector reads."""

import math
from typing import Literal, get_args

import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import get_track_meta
from monai.transforms import Transform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor

from monai_shield.transforms.each_key import EachKeyd
from monai_shield.transforms.spectrum import fourier_transform, frequency_magnitude, shift_zero_frequency

Part = Literal["magnitude", "log_magnitude", "real_imaginary"]


class SpectralTransform(Transform):
    """
    Base of the transforms from or to a spectrum: it applies ``convert`` to the plain tensor of a checked array, and
    gives the result the metadata of the array.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 (as every MONAI transform declares it)

    def convert(self, tensor: torch.Tensor, spatial_dims: int) -> torch.Tensor:
        raise NotImplementedError

    def __call__(self, img: NdarrayOrTensor) -> torch.Tensor:
        """
        Args:
            img: channel-first, (C, H[, W[, D]]).

        Returns:
            The result with the metadata of ``img``: a MetaTensor where MONAI tracks metadata.

        Raises:
            ValueError: When ``img`` is not channel-first with 1 to 3 spatial axes, is empty, is complex where it must
                be real or real where it must be complex, or holds a NaN or an infinity.
        """
        img = convert_to_tensor(img, track_meta=get_track_meta())
        tensor = checked(img)
        result = self.convert(tensor, tensor.ndim - 1)
        output: torch.Tensor = convert_to_dst_type(result, dst=img, dtype=result.dtype)[0]  # type: ignore[assignment]
        return output


def checked(img: NdarrayOrTensor) -> torch.Tensor:
    """A channel-first array as a plain tensor; raises as :class:`SpectralTransform` does."""
    tensor: torch.Tensor = convert_to_tensor(img, track_meta=False)
    if not 2 <= tensor.ndim <= 4 or tensor.numel() == 0:
        raise ValueError(f"expected a nonempty (C, H[, W[, D]]) array, got shape {tuple(tensor.shape)}.")
    # the sum, many times cheaper, settles it unless it overflows
    if not bool(tensor.sum().isfinite()) and not bool(tensor.isfinite().all()):
        raise ValueError("expected finite values, got a NaN or an infinity.")
    return tensor


class FourierTransform(SpectralTransform):
    """
    Discrete Fourier transform of each channel, divided by the number of pixels; see :func:`fourier_transform`.

    (C, H[, W[, D]]) real to the same shape, complex, the zero frequency at index 0.
    """

    def convert(self, tensor: torch.Tensor, spatial_dims: int) -> torch.Tensor:
        return fourier_transform(tensor, spatial_dims)


class FrequencyShift(SpectralTransform):
    """
    Move the zero frequency of each channel to the center, index n // 2; see :func:`shift_zero_frequency`.

    Args:
        inverse: move it back from the center to index 0.
    """

    def __init__(self, inverse: bool = False) -> None:
        self.inverse = inverse

    def convert(self, tensor: torch.Tensor, spatial_dims: int) -> torch.Tensor:
        return shift_zero_frequency(tensor, spatial_dims, self.inverse)


class SpectrumPart(SpectralTransform):
    """
    The real channels of a complex spectrum (C, H[, W[, D]]) that a network can read.

    Args:
        part: "magnitude" ``|F|``, (C, ...); "log_magnitude" ``log(eps + |F|)``, (C, ...); "real_imaginary" the real
            parts of all channels followed by their imaginary parts, (2C, ...).
        eps: floor of the logarithm. The default lies well under the magnitude that rounding to 8 bits alone gives
            every frequency of an image of window [0, 1] (4e-6 at 256 x 256), and above what float32 arithmetic does.

    Raises:
        ValueError: When ``part`` is unknown or ``eps`` is not positive.
    """

    def __init__(self, part: Part = "magnitude", eps: float = 1e-7) -> None:
        if part not in get_args(Part):
            raise ValueError(f"part must be one of {', '.join(get_args(Part))}, got {part!r}.")
        if not 0 < eps < math.inf:
            raise ValueError(f"eps must be positive and finite, got {eps}.")
        self.part = part
        self.eps = eps

    def convert(self, tensor: torch.Tensor, spatial_dims: int) -> torch.Tensor:
        if not tensor.is_complex():
            raise ValueError(f"expected a complex spectrum, got {tensor.dtype}.")
        if self.part == "real_imaginary":
            return torch.cat([tensor.real, tensor.imag])
        return self.scale_magnitude(tensor.abs())

    def scale_magnitude(self, magnitude: torch.Tensor) -> torch.Tensor:
        """``log(eps + magnitude)`` for the logarithmic part, otherwise the magnitude itself."""
        return (magnitude + self.eps).log() if self.part == "log_magnitude" else magnitude


class FrequencyConverter(SpectralTransform):
    """
    From a real image (C, H[, W[, D]]) to the channels of its spectrum in one step: the same as ``Compose`` of
    :class:`FourierTransform`, :class:`FrequencyShift` if ``shift``, and :class:`SpectrumPart`, but magnitudes take the
    fast path of :func:`frequency_magnitude`.

    Args:
        part: as in :class:`SpectrumPart`.
        shift: put the zero frequency at n // 2 of each axis instead of at 0.
        eps: as in :class:`SpectrumPart`.

    Raises:
        ValueError: When ``part`` is unknown or ``eps`` is not positive.
    """

    def __init__(self, part: Part = "magnitude", shift: bool = True, eps: float = 1e-7) -> None:
        self.spectrum_part = SpectrumPart(part, eps)
        self.shift = shift

    def convert(self, tensor: torch.Tensor, spatial_dims: int) -> torch.Tensor:
        if self.spectrum_part.part != "real_imaginary":
            return self.spectrum_part.scale_magnitude(frequency_magnitude(tensor, spatial_dims, self.shift))
        spectrum = fourier_transform(tensor, spatial_dims)
        if self.shift:
            spectrum = shift_zero_frequency(spectrum, spatial_dims)
        return self.spectrum_part.convert(spectrum, spatial_dims)


class FourierTransformd(EachKeyd):
    """Dictionary form of :class:`FourierTransform`."""

    array = FourierTransform


class FrequencyShiftd(EachKeyd):
    """Dictionary form of :class:`FrequencyShift`."""

    array = FrequencyShift


class SpectrumPartd(EachKeyd):
    """Dictionary form of :class:`SpectrumPart`."""

    array = SpectrumPart


class FrequencyConverterd(EachKeyd):
    """Dictionary form of :class:`FrequencyConverter`."""

    array = FrequencyConverter
