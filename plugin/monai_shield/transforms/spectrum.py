# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""
The discrete Fourier spectrum of an image, as functions of tensors.

Every spectrum here carries the factor 1/(number of pixels) of Park et al. (https://arxiv.org/abs/2009.11090),

    F(u, v) = 1/(WH) * sum over x, y of f(x, y) exp(-2j pi (ux/W + vy/H)),

so that F(0, 0) is the mean intensity and, by Parseval, sum |F|^2 is the mean of f^2, whatever the image's size.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch


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
    ``|F|`` of a real image, as ``shift_zero_frequency(fourier_transform(image)).abs()`` gives it, but faster.

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


def frequency_radius(
    size: Sequence[int], dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """
    How far each frequency of a spectrum lies from the zero frequency, which stands at 0 of each axis.

    Args:
        size: H, W[, D] of the image.
        dtype: of the result.
        device: of the result.

    Returns:
        (H, W[, D]) in cycles per pixel; 0.5 is the highest along an axis.
    """
    axes = [torch.fft.fftfreq(length, dtype=dtype, device=device) for length in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(dim=0).sqrt()


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
    mirrored = torch.from_numpy(_row_index(tuple(height), -1, shift)).to(half.device)
    if shift:
        rows_shifted = torch.from_numpy(_row_index(tuple(height), 1, shift)).to(half.device)
        _gather_rows(half[..., : width - center], rows_shifted, full[..., center:])
        _gather_rows(half[..., 1:].flip(-1), mirrored, full[..., :center])
    else:
        full[..., : center + 1] = half
        _gather_rows(half[..., 1 : width - center].flip(-1), mirrored, full[..., center + 1 :])
    return full.reshape(*half.shape[:-2], *size)


@lru_cache(maxsize=64)
def _row_index(height: tuple[int, ...], sign: int, shift: bool) -> np.ndarray:
    """
    Row of the unshifted spectrum that holds ``sign`` times the frequency of each row of the result.

    An array, since a tensor that is kept between calls would belong to the mode (inference, tracing) it was made in.
    """
    index = np.zeros(1, dtype=np.int64)
    for n in height:
        frequency = np.arange(n) - (n // 2 if shift else 0)
        index = (index[:, None] * n + (sign * frequency) % n).ravel()
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
