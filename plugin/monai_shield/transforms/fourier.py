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

"""
The converter: from an image to its discrete Fourier spectrum and to the real channels that a detector reads.

Every spectrum here carries the factor 1/(number of pixels) of Park et al. (https://arxiv.org/abs/2009.11090),

    F(u, v) = 1/(WH) * sum over x, y of f(x, y) exp(-2j pi (ux/W + vy/H)),

so that F(0, 0) is the mean intensity and, by Parseval, sum |F|^2 is the mean of f^2, whatever the image's size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal, get_args

import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import get_track_meta
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor

__all__ = [
    "FourierTransform",
    "FourierTransformD",
    "FourierTransformDict",
    "FourierTransformd",
    "FrequencyConverter",
    "FrequencyConverterD",
    "FrequencyConverterDict",
    "FrequencyConverterd",
    "FrequencyShift",
    "FrequencyShiftD",
    "FrequencyShiftDict",
    "FrequencyShiftd",
    "SpectrumPart",
    "SpectrumPartD",
    "SpectrumPartDict",
    "SpectrumPartd",
    "fourier_transform",
    "frequency_magnitude",
    "shift_zero_frequency",
]

Part = Literal["magnitude", "log_magnitude", "real_imaginary"]


def fourier_transform(image: torch.Tensor, spatial_dims: int) -> torch.Tensor:
    """
    Discrete Fourier transform over the last ``spatial_dims`` axes, divided by the number of pixels:
    ``F(u, v) = 1/(WH) * sum f(x, y) exp(-2j pi (ux/W + vy/H))``.

    Args:
        image: real, (..., H, W[, D]); integers and half precision are computed in float32.
        spatial_dims: number of spatial axes, 1 to 3.

    Returns:
        The full complex spectrum as a plain tensor of the image's shape, the zero frequency at index 0.

    Raises:
        ValueError: When ``image`` is complex, is empty, or has fewer axes than ``spatial_dims``.
    """
    return torch.fft.fftn(_as_real(image, spatial_dims), dim=_axes(spatial_dims), norm="forward")


def shift_zero_frequency(spectrum: torch.Tensor, spatial_dims: int, inverse: bool = False) -> torch.Tensor:
    """
    Move the zero frequency from index 0 to index n // 2 of each of the last ``spatial_dims`` axes.

    Args:
        spectrum: complex or real, (..., H, W[, D]).
        spatial_dims: number of spatial axes, 1 to 3.
        inverse: move it back from n // 2 to 0; on axes of odd length this is not the same as shifting again.

    Returns:
        The permuted spectrum, of the same shape and type.

    Raises:
        ValueError: When ``spectrum`` is empty or has fewer axes than ``spatial_dims``.
    """
    _check_shape(spectrum, spatial_dims)
    roll = torch.fft.ifftshift if inverse else torch.fft.fftshift
    return roll(spectrum, dim=_axes(spatial_dims))


def frequency_magnitude(image: torch.Tensor, spatial_dims: int, shift: bool = True) -> torch.Tensor:
    """
    ``|F|`` of a real image, as ``shift_zero_frequency(fourier_transform(image)).abs()`` gives it, several times faster.

    A real image has ``F(-u, -v) = conj(F(u, v))``: transform and magnitude are computed for the half of the spectrum
    with v >= 0, and both halves are then copied straight to their place, the second one mirrored.

    Args:
        image: real, (..., H, W[, D]); integers and half precision are computed in float32.
        spatial_dims: number of spatial axes, 1 to 3.
        shift: put the zero frequency at n // 2 of each axis instead of at 0.

    Returns:
        The full magnitude spectrum as a real plain tensor of the image's shape. Differentiable; where F = 0 the
        gradient is 0.

    Raises:
        ValueError: When ``image`` is complex, is empty, or has fewer axes than ``spatial_dims``.
    """
    image = _as_real(image, spatial_dims)
    return _mirror(_half_magnitude(image, spatial_dims), image.shape[-spatial_dims:], shift)


def _half_magnitude(image: torch.Tensor, spatial_dims: int) -> torch.Tensor:
    """
    ``|F|`` for v >= 0, (..., H, W // 2 + 1).

    On CPU sqrt(re^2 + im^2) takes a third of the time of ``Tensor.abs``, which guards against squares that leave the
    range of the type. So it is used where they stay inside: where the largest square of an image is finite, and so
    large that whatever is above the transform's own rounding error keeps its precision.
    """
    axes = _axes(spatial_dims)
    half = torch.fft.rfftn(image, dim=axes, norm="forward")
    if half.requires_grad or half.device.type != "cpu":
        return half.abs()
    squares = torch.view_as_real(half).square_()
    power = squares[..., 0] + squares[..., 1]
    peak, limits = power.amax(axes), torch.finfo(power.dtype)
    if bool(((peak >= limits.tiny / limits.eps**2) & (peak <= limits.max)).all()):
        return power.sqrt_()
    return torch.fft.rfftn(image, dim=axes, norm="forward").abs()


def _mirror(half: torch.Tensor, size: Sequence[int], shift: bool) -> torch.Tensor:
    """
    Complete a spectrum that is even, ``F(-u, -v) = F(u, v)``, from its half with v >= 0.

    All axes but the last are handled as one axis of rows, so that 1D to 3D are the same two gathers of rows.

    Args:
        half: (..., H, W // 2 + 1), zero frequency at 0.
        size: the full spatial size.
        shift: put the zero frequency at n // 2 of each axis.
    """
    *height, width = size
    center = width // 2
    rows = math.prod(height)
    half = half.reshape(*half.shape[: -len(size)], rows, center + 1)
    full = half.new_empty(*half.shape[:-1], width)
    mirrored = _row_index(height, -1, shift, half.device)
    if shift:
        rows_shifted = _row_index(height, 1, shift, half.device)
        _gather_rows(half[..., : width - center], rows_shifted, full[..., center:])
        _gather_rows(half[..., 1:].flip(-1), mirrored, full[..., :center])
    else:
        full[..., : center + 1] = half
        _gather_rows(half[..., 1 : width - center].flip(-1), mirrored, full[..., center + 1 :])
    return full.reshape(*half.shape[:-2], *size)


def _row_index(height: Sequence[int], sign: int, shift: bool, device: torch.device) -> torch.Tensor:
    """Row of the unshifted spectrum that holds ``sign`` times the frequency of each row of the result."""
    index = torch.zeros(1, dtype=torch.long, device=device)
    for n in height:
        frequency = torch.arange(n, device=device) - (n // 2 if shift else 0)
        index = (index[:, None] * n + (sign * frequency) % n).flatten()
    return index


def _gather_rows(source: torch.Tensor, index: torch.Tensor, target: torch.Tensor) -> None:
    if source.requires_grad:
        target.copy_(source.index_select(-2, index))
    else:
        torch.index_select(source, -2, index, out=target)


def _axes(spatial_dims: int) -> tuple[int, ...]:
    return tuple(range(-spatial_dims, 0))


def _check_shape(tensor: torch.Tensor, spatial_dims: int) -> None:
    if spatial_dims not in (1, 2, 3):
        raise ValueError(f"spatial_dims must be 1, 2 or 3, got {spatial_dims}.")
    if tensor.ndim < spatial_dims or tensor.numel() == 0:
        raise ValueError(f"expected a nonempty tensor with {spatial_dims} spatial axes, got {tuple(tensor.shape)}.")


def _as_real(image: torch.Tensor, spatial_dims: int) -> torch.Tensor:
    """The image as a plain tensor of float32 or float64."""
    _check_shape(image, spatial_dims)
    if image.is_complex():
        raise ValueError(f"expected a real image, got {image.dtype}.")
    image = image.as_subclass(torch.Tensor)
    return image if image.dtype in (torch.float32, torch.float64) else image.float()


def _is_finite(tensor: torch.Tensor) -> bool:
    """Whether all values are finite. The sum, many times cheaper, settles it unless it overflows."""
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


class _SpectralTransform(Transform):
    """Checks a channel-first array, applies :meth:`convert` to it as a plain tensor, and gives it its metadata back."""

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
        tensor: torch.Tensor = convert_to_tensor(img, track_meta=False)
        if not 2 <= tensor.ndim <= 4 or tensor.numel() == 0:
            raise ValueError(f"expected a nonempty (C, H[, W[, D]]) array, got shape {tuple(tensor.shape)}.")
        if not _is_finite(tensor):
            raise ValueError("expected finite values, got a NaN or an infinity.")
        result = self.convert(tensor, tensor.ndim - 1)
        output: torch.Tensor = convert_to_dst_type(result, dst=img, dtype=result.dtype)[0]  # type: ignore[assignment]
        return output


class FourierTransform(_SpectralTransform):
    """
    Discrete Fourier transform of each channel, divided by the number of pixels; see :func:`fourier_transform`.

    (C, H[, W[, D]]) real to the same shape, complex, the zero frequency at index 0.
    """

    def convert(self, tensor: torch.Tensor, spatial_dims: int) -> torch.Tensor:
        return fourier_transform(tensor, spatial_dims)


class FrequencyShift(_SpectralTransform):
    """
    Move the zero frequency of each channel to the center, index n // 2; see :func:`shift_zero_frequency`.

    Args:
        inverse: move it back from the center to index 0.
    """

    def __init__(self, inverse: bool = False) -> None:
        self.inverse = inverse

    def convert(self, tensor: torch.Tensor, spatial_dims: int) -> torch.Tensor:
        return shift_zero_frequency(tensor, spatial_dims, self.inverse)


class SpectrumPart(_SpectralTransform):
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


class FrequencyConverter(_SpectralTransform):
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


class _SpectralTransformd(MapTransform):
    """Applies an array transform to each of ``keys``."""

    backend = _SpectralTransform.backend

    def __init__(
        self, keys: KeysCollection, transform: Callable[[NdarrayOrTensor], torch.Tensor], allow_missing_keys: bool
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = transform

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.transform(d[key])
        return d


class FourierTransformd(_SpectralTransformd):
    """
    Dictionary-based wrapper of :class:`FourierTransform`.

    Args:
        keys: keys of the images.
        allow_missing_keys: do not raise when a key is missing.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, FourierTransform(), allow_missing_keys)


class FrequencyShiftd(_SpectralTransformd):
    """
    Dictionary-based wrapper of :class:`FrequencyShift`.

    Args:
        keys: keys of the spectra.
        inverse: move the zero frequency back from the center to index 0.
        allow_missing_keys: do not raise when a key is missing.
    """

    def __init__(self, keys: KeysCollection, inverse: bool = False, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, FrequencyShift(inverse), allow_missing_keys)


class SpectrumPartd(_SpectralTransformd):
    """
    Dictionary-based wrapper of :class:`SpectrumPart`.

    Args:
        keys: keys of the complex spectra.
        part: as in :class:`SpectrumPart`.
        eps: as in :class:`SpectrumPart`.
        allow_missing_keys: do not raise when a key is missing.
    """

    def __init__(
        self, keys: KeysCollection, part: Part = "magnitude", eps: float = 1e-7, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, SpectrumPart(part, eps), allow_missing_keys)


class FrequencyConverterd(_SpectralTransformd):
    """
    Dictionary-based wrapper of :class:`FrequencyConverter`.

    Args:
        keys: keys of the images.
        part: as in :class:`SpectrumPart`.
        shift: put the zero frequency at n // 2 of each axis instead of at 0.
        eps: as in :class:`SpectrumPart`.
        allow_missing_keys: do not raise when a key is missing.
    """

    def __init__(
        self,
        keys: KeysCollection,
        part: Part = "magnitude",
        shift: bool = True,
        eps: float = 1e-7,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, FrequencyConverter(part, shift, eps), allow_missing_keys)


FourierTransformD = FourierTransformDict = FourierTransformd
FrequencyShiftD = FrequencyShiftDict = FrequencyShiftd
SpectrumPartD = SpectrumPartDict = SpectrumPartd
FrequencyConverterD = FrequencyConverterDict = FrequencyConverterd
