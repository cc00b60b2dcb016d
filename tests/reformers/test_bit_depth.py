# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Rounding to levels: closed forms, and its place in a detector."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_shield.detectors import PredictionConsistency, Views
from monai_shield.reformers import BitDepth

SIZES = [(8, 12), (6, 8, 10)]


def images(*size: int) -> torch.Tensor:
    return torch.rand(3, 1, *size, generator=torch.Generator().manual_seed(0))


def test_levels_by_hand() -> None:
    image = torch.tensor([0, 0.24, 0.26, 0.5, 1.0, 1.26, -0.24])[None, None]
    # one bit: 0 and 1; two bits: thirds
    assert torch.equal(BitDepth(1)(image)[0, 0], torch.tensor([0, 0, 0, 0, 1.0, 1, 0]))
    torch.testing.assert_close(BitDepth(2)(image)[0, 0], torch.tensor([0, 1, 1, 2, 3, 4, -1]) / 3)


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_the_window_has_two_to_the_bits_levels_evenly_spaced(bits: int) -> None:
    levels = BitDepth(bits)(torch.linspace(0, 1, 5000)).unique()
    torch.testing.assert_close(levels, torch.linspace(0, 1, 2**bits))


@settings(max_examples=50, deadline=None)
@given(bits=st.integers(1, 12), value=st.floats(-2, 3), push=st.floats(-0.99, 0.99))
def test_moves_half_a_step_at_most_and_its_levels_not_at_all(bits: int, value: float, push: float) -> None:
    squeeze, half = BitDepth(bits), 0.5 / (2**bits - 1)
    level = squeeze(torch.tensor(value, dtype=torch.float64))
    assert abs(float(level) - value) <= half + 1e-12
    torch.testing.assert_close(squeeze(level + push * half), level)  # what an attack of less than half a step changed


def test_a_background_disturbed_by_less_than_half_a_step_is_zero_again() -> None:
    noise = 2 * images(8, 8) - 1
    assert torch.equal(BitDepth(3)(0.49 / 7 * noise), torch.zeros(3, 1, 8, 8))
    assert bool((BitDepth(3)(0.6 / 7 * noise) != 0).any())


def test_8_bits_leave_an_image_of_8_bits() -> None:
    image = torch.arange(256) / 255
    torch.testing.assert_close(BitDepth(8)(image), image, atol=1e-7, rtol=0)


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_feature_squeezing_is_consistency_under_it(size: tuple[int, ...]) -> None:
    def target(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([9 * x, 1 - x], 1)

    image, squeeze = images(*size), BitDepth(3)
    own = PredictionConsistency(reformer=squeeze)(Views(image, target))
    torch.testing.assert_close(own, PredictionConsistency()(Views(image, target, squeeze)))
    assert bool((own > 0).all())
    on_a_level = PredictionConsistency(reformer=squeeze)(Views(squeeze(image), target))
    torch.testing.assert_close(on_a_level, torch.zeros(3), atol=1e-7, rtol=0)


@pytest.mark.parametrize("bits", [0, 17, -1, 2.5])
def test_other_numbers_of_bits_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 16"):
        BitDepth(bits)
