# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The norm of the standardized spectrum: by hand, and as a reconstruction error."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from monai_shield.detectors import ReconstructionDetector, SpectrumNorm, Views

SIZES = [(8, 8), (7, 10), (5, 6, 8)]


class Zeros(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_norm_by_hand(size: tuple[int, ...], channels: int) -> None:
    train, image = images(9, channels, *size, seed=1), images(3, channels, *size)
    axes = tuple(range(2, 2 + len(size)))
    usual, seen = (np.abs(np.fft.fftn(x.numpy(), axes=axes)) / math.prod(size) for x in (train, image))
    expected = np.sqrt((((seen - usual.mean(0)) / usual.std(0)) ** 2).reshape(3, -1).sum(1))
    detector = SpectrumNorm(size, channels).double().fit([Views(train)])
    torch.testing.assert_close(detector(Views(image)), torch.from_numpy(expected))


@pytest.mark.parametrize("domain", ["frequency", "shifted_frequency"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_is_the_error_of_a_network_that_returns_zeros(size: tuple[int, ...], domain: str) -> None:
    train, image = images(9, 1, *size, seed=1), images(3, 1, *size)
    blind = ReconstructionDetector(Zeros(), domain, size).fit([Views(train)])  # type: ignore[arg-type]
    torch.testing.assert_close(SpectrumNorm(size).fit([Views(train)])(Views(image)), blind(Views(image)))


def test_expected_square_is_one_a_frequency() -> None:
    """Over its own training images the standardized square has the mean 1 at each frequency."""
    train = images(50, 1, 8, 8)
    detector = SpectrumNorm((8, 8)).double().fit([Views(train)])
    assert float(detector(Views(train)).square().mean()) == pytest.approx(64, rel=1e-6)


def test_gradient_is_that_of_finite_differences() -> None:
    detector = SpectrumNorm((4, 5)).double().fit([Views(images(9, 1, 4, 5, seed=1))])
    assert torch.autograd.gradcheck(lambda x: detector(Views(x)), images(2, 1, 4, 5).requires_grad_())


def test_not_fitted_scores_nan() -> None:
    assert bool(SpectrumNorm((8, 8))(Views(torch.rand(2, 1, 8, 8))).isnan().all())


def test_nan_is_not_lost_where_nothing_is_reconstructed() -> None:
    detector = SpectrumNorm((8, 8)).fit([Views(images(9, 1, 8, 8))])
    assert bool(detector(Views(torch.full((1, 1, 8, 8), math.nan))).isnan().all())


def test_another_size_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"\(1, 9, 8\).*\(1, 8, 8\)"):
        SpectrumNorm((8, 8))(Views(torch.rand(1, 1, 9, 8)))
    with pytest.raises(ValueError, match="at least two"):
        SpectrumNorm((8, 8)).fit([Views(images(1, 1, 8, 8))])
