# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import itertools
import math

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms.utils import Fourier

from monai_shield.transforms import (
    fourier_transform,
    frequency_magnitude,
    frequency_radius,
    shift_zero_frequency,
)

SIZES = [(8,), (7,), (8, 6), (7, 9), (6, 5), (1, 4), (5, 1), (4, 6, 8), (3, 5, 7), (4, 3, 2)]
ANY_SIZE = st.lists(st.integers(1, 17), min_size=1, max_size=3).map(tuple)
FEW = settings(max_examples=40, deadline=None)


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def naive_magnitude(image, dims):
    return shift_zero_frequency(fourier_transform(image, dims), dims).abs()


@pytest.mark.parametrize("size", [(4,), (3, 4), (2, 3, 5)])
def test_is_the_sum_that_defines_it(size):
    image = noise(*size)
    positions = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1).reshape(-1, len(size))
    phase = np.exp(-2j * np.pi * (positions / size) @ positions.T)
    expected = phase @ image.numpy().ravel() / math.prod(size)
    np.testing.assert_allclose(fourier_transform(image, len(size)).numpy().ravel(), expected, atol=1e-14)


@pytest.mark.parametrize("size", SIZES)
def test_agrees_with_numpy_scipy_and_monai(size):
    dims = len(size)
    axes = tuple(range(-dims, 0))
    image = noise(2, 3, *size)
    count = math.prod(size)
    spectrum = fourier_transform(image, dims)
    np.testing.assert_allclose(spectrum, np.fft.fftn(image.numpy(), axes=axes) / count, atol=1e-14)
    np.testing.assert_allclose(spectrum, scipy.fft.fftn(image.numpy(), axes=axes) / count, atol=1e-14)
    shifted = Fourier.shift_fourier(image, dims) / count
    torch.testing.assert_close(shift_zero_frequency(spectrum, dims), shifted)
    torch.testing.assert_close(frequency_magnitude(image, dims), shifted.abs())


@FEW
@given(ANY_SIZE, st.integers(0, 2**16), st.booleans(), st.sampled_from([torch.float32, torch.float64]))
def test_fast_magnitude_is_the_full_one(size, seed, shift, dtype):
    image = noise(2, *size, seed=seed, dtype=dtype)
    full = fourier_transform(image, len(size))
    expected = (shift_zero_frequency(full, len(size)) if shift else full).abs()
    actual = frequency_magnitude(image, len(size), shift)
    assert actual.dtype == dtype
    assert actual.is_contiguous()
    torch.testing.assert_close(actual, expected)


@FEW
@given(ANY_SIZE, st.integers(0, 2**16))
def test_parseval(size, seed):
    image = noise(*size, seed=seed)
    energy = image.square().mean()
    torch.testing.assert_close(fourier_transform(image, len(size)).abs().square().sum(), energy)
    torch.testing.assert_close(frequency_magnitude(image, len(size)).square().sum(), energy)


@FEW
@given(ANY_SIZE)
def test_shift_and_its_inverse_undo_each_other(size):
    image, dims = noise(2, *size), len(size)
    there = shift_zero_frequency(image, dims)
    assert torch.equal(shift_zero_frequency(there, dims, inverse=True), image)
    assert torch.equal(there[(slice(None), *(n // 2 for n in size))], image[(slice(None), *(0 for _ in size))])


@pytest.mark.parametrize("size", SIZES)
def test_delta_has_a_flat_spectrum(size):
    delta = torch.zeros(1, *size, dtype=torch.float64)
    delta[(0, *(n // 3 for n in size))] = 2.0
    magnitude = frequency_magnitude(delta, len(size))
    torch.testing.assert_close(magnitude, torch.full_like(delta, 2.0 / math.prod(size)))


@pytest.mark.parametrize("size", SIZES)
def test_constant_is_its_mean_in_the_center(size):
    expected = torch.zeros(1, *size, dtype=torch.float64)
    expected[(0, *(n // 2 for n in size))] = 3.0
    torch.testing.assert_close(frequency_magnitude(torch.full_like(expected, -3.0), len(size)), expected)


@pytest.mark.parametrize("size", [(16, 12), (15, 13), (8, 9, 10)])
def test_cosine_is_two_peaks_at_plus_and_minus_its_frequency(size):
    frequency = tuple(range(2, 2 + len(size)))
    grid = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij")
    phase = sum(u * x / n for u, x, n in zip(frequency, grid, size))
    expected = torch.zeros(size, dtype=torch.float64)
    for sign in (1, -1):
        expected[tuple(n // 2 + sign * u for n, u in zip(size, frequency))] = 0.5
    actual = frequency_magnitude(torch.cos(2 * math.pi * phase), len(size))
    torch.testing.assert_close(actual, expected, atol=1e-13, rtol=0)


def test_is_linear():
    a, b = noise(2, 7, 6), noise(2, 7, 6, seed=1)
    combined = fourier_transform(2 * a - 3 * b, 2)
    torch.testing.assert_close(combined, 2 * fourier_transform(a, 2) - 3 * fourier_transform(b, 2))


def test_translation_leaves_the_magnitude():
    image = noise(1, 9, 8)
    torch.testing.assert_close(frequency_magnitude(image.roll((2, 5), (1, 2)), 2), frequency_magnitude(image, 2))


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-10, 1e10, 1e25])
def test_magnitude_scales_with_the_image_where_its_square_leaves_float32(scale):
    image = noise(2, 8, 9, dtype=torch.float32)
    image = torch.stack([image, image * scale])
    actual = frequency_magnitude(image, 2)
    torch.testing.assert_close(actual[1], actual[0] * scale, rtol=1e-4, atol=scale * 1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shift", [True, False])
def test_gradient_is_that_of_the_naive_formulation(size, shift):
    dims = len(size)
    image = noise(2, 1, *size).requires_grad_()
    weight = noise(2, 1, *size, seed=1)
    fast = frequency_magnitude(image, dims, shift)
    full = fourier_transform(image, dims)
    naive = (shift_zero_frequency(full, dims) if shift else full).abs()
    torch.testing.assert_close(fast.detach(), frequency_magnitude(image.detach(), dims, shift))
    (expected,) = torch.autograd.grad((naive * weight).sum(), image)
    (actual,) = torch.autograd.grad((fast * weight).sum(), image)
    torch.testing.assert_close(actual, expected)


def test_gradient_passes_gradcheck_and_is_finite_at_zero():
    assert torch.autograd.gradcheck(lambda x: frequency_magnitude(x, 2), noise(1, 3, 4).requires_grad_())
    zero = torch.zeros(1, 4, 4, requires_grad=True)
    frequency_magnitude(zero, 2).sum().backward()
    assert torch.equal(zero.grad, torch.zeros(1, 4, 4))


def test_leaves_its_input_as_it_was():
    image = noise(1, 8, 8, dtype=torch.float32)
    before = image.clone()
    frequency_magnitude(image, 2)
    assert torch.equal(image, before)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float16, torch.bfloat16])
def test_other_types_are_computed_in_float32(dtype):
    image = (noise(1, 6, 5).abs() * 20).to(dtype)
    torch.testing.assert_close(frequency_magnitude(image, 2), naive_magnitude(image.float(), 2))


@pytest.mark.parametrize("size", SIZES)
def test_a_wave_lies_at_the_radius_of_its_frequency(size):
    radius = frequency_radius(size)
    assert radius.shape == torch.Size(size)
    for place in itertools.islice(itertools.product(*map(range, size)), 0, None, 7):
        # of the waves that look the same on this grid, the slowest
        cycles = [min(k, n - k) / n for k, n in zip(place, size)]
        assert float(radius[place]) == pytest.approx(math.hypot(*cycles), abs=1e-15)
    assert frequency_radius(size, torch.float32).dtype == torch.float32
