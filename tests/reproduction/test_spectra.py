# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Power by radius, in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from reproduction.spectra import FLOOR, radial_power

SIZES = [(24, 30), (12, 10, 16)]


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_a_single_point_has_the_same_power_everywhere(size: tuple[int, ...]) -> None:
    image = torch.zeros(2, 1, *size)
    image[(..., *(length // 3 for length in size))] = 0.5
    power = radial_power(image, rings=5)
    assert power.shape == (5,)
    # every frequency has the magnitude 0.5 / number of pixels
    np.testing.assert_allclose(power, 2 * math.log10(0.5 / math.prod(size) + FLOOR), rtol=1e-5)


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
@pytest.mark.parametrize("cycles", [1, 2, 3])
def test_a_wave_lies_in_the_ring_of_its_frequency(size: tuple[int, ...], cycles: int) -> None:
    x = torch.arange(size[0], dtype=torch.float64).reshape(-1, *(1,) * (len(size) - 1)).expand(size)
    power = radial_power(torch.cos(2 * torch.pi * cycles * x / size[0])[None, None], rings=6)
    assert int(power.argmax()) == int(cycles / size[0] * 2 * 6)
    rest = np.delete(power, power.argmax())
    np.testing.assert_allclose(rest, 2 * math.log10(FLOOR), rtol=1e-6)


def test_a_ring_without_a_frequency_is_nothing_and_corners_are_left_out() -> None:
    power = radial_power(torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0)), rings=8)
    # radii 0, 1/4 and its diagonal; those at 1/2 and beyond lie outside
    assert np.flatnonzero(~np.isnan(power)).tolist() == [0, 4, 5]


def test_images_are_averaged_by_their_logarithms() -> None:
    image = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    alone = [radial_power(each[None], rings=4) for each in image]
    np.testing.assert_allclose(radial_power(image, rings=4), np.mean(alone, axis=0), rtol=1e-9)
