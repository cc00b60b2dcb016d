# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Estimation of noise: the published formula, and what it recovers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_shield.detectors import LaplacianNoise, Views


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def estimate(image: torch.Tensor) -> torch.Tensor:
    return LaplacianNoise()(Views(image))


@pytest.mark.parametrize("channels", [1, 3])
def test_is_the_formula_of_immerkaer(channels: int) -> None:
    image = noise(2, channels, 9, 14)
    mask = torch.tensor([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=torch.float64)
    response = F.conv2d(image.flatten(0, 1)[:, None], mask[None, None]).abs().sum(dim=(1, 2, 3))
    by_hand = math.sqrt(math.pi / 2) / (6 * (14 - 2) * (9 - 2)) * response
    torch.testing.assert_close(estimate(image), by_hand.view(2, channels).mean(dim=1))


@pytest.mark.parametrize("ramp", [(0.0, 0.0), (0.01, 0.0), (0.02, -0.03)], ids=["flat", "ramp", "slanting ramp"])
@pytest.mark.parametrize("sigma", [2 / 255, 0.1])
def test_recovers_the_deviation_of_gaussian_noise(sigma: float, ramp: tuple[float, float]) -> None:
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(96.0), indexing="ij")
    image = 0.5 + ramp[0] * x + ramp[1] * y + sigma * noise(4, 1, 128, 96)
    torch.testing.assert_close(estimate(image), torch.full((4,), sigma, dtype=torch.float64), atol=0, rtol=0.04)


@settings(max_examples=25, deadline=None)
@given(contrast=st.floats(-3, 3), slope=st.floats(-1, 1), offset=st.floats(-5, 5))
def test_scales_with_contrast_and_sees_no_plane(contrast: float, slope: float, offset: float) -> None:
    image = noise(1, 1, 12, 10)
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(10.0), indexing="ij")
    plane = slope * x.double() + offset * y.double()
    torch.testing.assert_close(
        estimate(contrast * image + plane), abs(contrast) * estimate(image), atol=1e-12, rtol=1e-9
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32])
def test_score_of_every_type(dtype: torch.dtype) -> None:
    image = (100 + 20 * noise(2, 1, 64, 64)).to(dtype)
    torch.testing.assert_close(estimate(image).double(), estimate(image.double()))


def test_gradient_is_that_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(estimate, noise(2, 2, 5, 4).requires_grad_())


@pytest.mark.parametrize("shape", [(1, 1, 8, 8, 8), (1, 1, 2, 8), (1, 1, 8, 2)])
def test_other_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected 2D images of at least 3 x 3 pixels, got shape") as error:
        estimate(torch.zeros(shape))
    assert "\n" not in str(error.value)
