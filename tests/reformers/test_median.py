# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Medians: what they leave, what they take, and SciPy's."""

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter

from monai_shield.reformers import Median


@pytest.mark.parametrize("size", [(9, 12), (6, 8, 7)], ids=["2D", "3D"])
@pytest.mark.parametrize("radius", [1, 2])
def test_is_scipy_s(size: tuple[int, ...], radius: int) -> None:
    image = torch.rand(2, 2, *size, generator=torch.Generator().manual_seed(0))
    expected = [[median_filter(one.numpy(), 2 * radius + 1, mode="nearest") for one in each] for each in image]
    assert np.array_equal(Median(radius)(image).numpy(), expected)


def test_an_edge_stays_and_a_single_pixel_goes() -> None:
    edge = torch.zeros(1, 1, 12, 12)
    edge[..., 6:] = 1
    assert torch.equal(Median()(edge), edge)
    single = edge.clone()
    single[0, 0, 3, 2] = 5
    assert torch.equal(Median()(single), edge)


def test_a_radius_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="radius must be at least 1, got 0"):
        Median(0)
