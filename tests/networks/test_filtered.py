# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a network behind a filter can see."""

from __future__ import annotations

import pytest
import torch
from monai.networks.layers import MedianFilter

from monai_shield.networks import FilteredNetwork, LowPass
from monai_shield.transforms import frequency_magnitude


def test_the_network_sees_only_what_the_filter_leaves() -> None:
    image = torch.full((1, 1, 8, 8), 0.5)
    speck = image.clone()
    speck[..., 4, 4] = 1.0  # a median of nine does not see one
    network = FilteredNetwork(MedianFilter(1, 2), torch.nn.Conv2d(1, 1, 3, padding=1))
    assert torch.equal(network(speck), network(image))
    assert not torch.equal(network.network(speck), network.network(image))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_residual_network_adds_to_what_the_filter_leaves(dims: int) -> None:
    image = torch.rand(2, 1, *(8,) * dims, generator=torch.Generator().manual_seed(0))
    median = MedianFilter(1, dims)
    network = torch.nn.AvgPool2d(3, 1, 1) if dims == 2 else torch.nn.AvgPool3d(3, 1, 1)
    torch.testing.assert_close(
        FilteredNetwork(median, network, residual=True)(image), median(image) + network(median(image))
    )
    silent = torch.nn.Threshold(torch.inf, 0.0)
    assert torch.equal(FilteredNetwork(median, silent, residual=True)(image), median(image))


@pytest.mark.parametrize("size", [(16, 12), (9, 15), (8, 6, 10)])
def test_low_pass_keeps_a_slow_wave_and_no_fast_one(size: tuple[int, ...]) -> None:
    x = torch.arange(size[0]).reshape(-1, *(1,) * (len(size) - 1)).expand(size)
    slow, fast = (torch.cos(2 * torch.pi * k * x / size[0])[None, None] for k in (1, size[0] // 2 - 1))
    low_pass = LowPass(0.2)
    both = low_pass(frequency_magnitude(slow + fast, len(size)))
    torch.testing.assert_close(both, frequency_magnitude(slow, len(size)), atol=1e-6, rtol=0)


def test_low_pass_is_even_as_the_spectrum_is() -> None:
    kept = LowPass(0.3)(torch.ones(1, 1, 9, 7))[0, 0]
    assert torch.equal(kept, kept.flip(0, 1))
    assert 0 < float(kept.mean()) < 1


@pytest.mark.parametrize("radius", [0.0, 0.5, -1.0])
def test_a_radius_outside_the_spectrum_is_refused(radius: float) -> None:
    with pytest.raises(ValueError, match="radius"):
        LowPass(radius)
