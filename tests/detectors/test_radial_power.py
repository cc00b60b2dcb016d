# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The radial power spectrum against loops over frequencies, closed forms and scikit-learn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf

from monai_shield.detectors import RadialLogPower, Views
from monai_shield.metrics import detection_auc

SIZES = [(8, 12), (9, 7), (6, 8, 10)]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_profile_against_a_loop_over_frequencies(size: tuple[int, ...]) -> None:
    bins, floor = 3, 1e-3
    image = noise(1, 1, *size)
    spectrum = np.fft.fftn(image[0, 0].numpy())
    logs: list[list[float]] = [[] for _ in range(bins)]
    for index in itertools.product(*map(range, size)):
        # signed frequency of an index, in cycles per pixel
        f = [(k if 2 * k < n else k - n) / n for k, n in zip(index, size)]
        distance = math.sqrt(sum(x * x for x in f))
        ring = min(int(distance / 0.5 * bins + 1e-9), bins - 1)
        logs[ring].append(math.log(abs(spectrum[index]) ** 2 / math.prod(size) + floor))
    expected = torch.tensor([np.mean(ring) for ring in logs], dtype=torch.float64)
    torch.testing.assert_close(RadialLogPower(bins, floor=floor).profile(Views(image))[0], expected)


@pytest.mark.parametrize("size", [(64, 64), (256, 128), (24, 24, 32)], ids=str)
def test_white_noise_has_one_power_at_any_size(size: tuple[int, ...]) -> None:
    """Its power at a frequency is exponential with mean sigma²; the mean of the log of that is log sigma² - gamma."""
    sigma = 0.02
    profile = RadialLogPower(4).profile(Views(sigma * noise(8, 1, *size))).mean(dim=0)
    expected = torch.full((4,), math.log(sigma**2) - np.euler_gamma, dtype=torch.float64)
    torch.testing.assert_close(profile, expected, atol=0.15, rtol=0)


@pytest.mark.parametrize(("frequency", "ring"), [(1, 0), (5, 1), (9, 2), (15, 3)])
def test_a_wave_is_in_its_ring_alone(frequency: int, ring: int) -> None:
    x = torch.arange(32, dtype=torch.float64)
    wave = torch.cos(2 * torch.pi * frequency * x / 32).expand(1, 1, 32, 32)
    rise = RadialLogPower(4).profile(Views(wave))[0] - math.log(1e-10)
    assert float(rise[ring]) > 0.01
    rise[ring] = 0
    torch.testing.assert_close(rise, torch.zeros(4, dtype=torch.float64), atol=1e-9, rtol=0)


def test_the_corners_count_in_the_last_ring() -> None:
    """The checkerboard has all its power at (0.5, 0.5), as far from zero as a frequency can be."""
    board = (-1.0) ** torch.arange(16, dtype=torch.float64)
    rise = RadialLogPower(4).profile(Views((board[:, None] * board)[None, None]))[0] - math.log(1e-10)
    assert float(rise[3]) > 0.01
    torch.testing.assert_close(rise[:3], torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)


def test_an_empty_image_has_the_power_of_the_floor() -> None:
    profile = RadialLogPower(4, floor=1e-6).profile(Views(torch.zeros(1, 1, 16, 16)))
    torch.testing.assert_close(profile, torch.full((1, 4), math.log(1e-6)))


@settings(max_examples=25, deadline=None)
@given(shift=st.tuples(st.integers(0, 11), st.integers(0, 11)), turns=st.integers(0, 3), flip=st.booleans())
def test_moving_turning_and_mirroring_change_nothing(shift: tuple[int, int], turns: int, flip: bool) -> None:
    image = noise(1, 1, 12, 12)
    moved = torch.rot90(image.roll(shift, dims=(2, 3)), turns, dims=(2, 3))
    moved = moved.flip(3) if flip else moved
    detector = RadialLogPower(5)
    torch.testing.assert_close(detector.profile(Views(moved)), detector.profile(Views(image)))


@settings(max_examples=25, deadline=None)
@given(contrast=st.floats(0.1, 10))
def test_contrast_moves_the_whole_profile_by_twice_its_log(contrast: float) -> None:
    image, detector = noise(1, 1, 12, 12), RadialLogPower(5, floor=1e-30)
    moved = detector.profile(Views(contrast * image)) - detector.profile(Views(image))
    torch.testing.assert_close(moved, torch.full_like(moved, 2 * math.log(contrast)))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("size", [(16, 16), (10, 8, 10)], ids=str)
def test_score_is_the_distance_of_scikit_learn(channels: int, size: tuple[int, ...]) -> None:
    train, image = noise(40, channels, *size, seed=1), 1.3 * noise(5, channels, *size)
    detector = RadialLogPower(4, channels).double()
    assert detector.fit([Views(train)]) is detector
    estimate = LedoitWolf().fit(detector.profile(Views(train)).numpy())
    expected = torch.from_numpy(estimate.mahalanobis(detector.profile(Views(image)).numpy())).sqrt()
    torch.testing.assert_close(detector(Views(image)), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_score_of_every_type(dtype: torch.dtype) -> None:
    detector = RadialLogPower(4).fit([Views(noise(20, 1, 16, 16, seed=1))])
    image = noise(3, 1, 16, 16).to(dtype)
    torch.testing.assert_close(detector(Views(image)).double(), detector(Views(image.double())), atol=1e-4, rtol=1e-4)


def test_autocast_does_not_round_the_score() -> None:
    detector, views = RadialLogPower(4).fit([Views(noise(20, 1, 16, 16, seed=1))]), Views(noise(3, 1, 16, 16).float())
    with torch.autocast("cpu", torch.bfloat16):
        rounded = detector(views)
    assert torch.equal(rounded, detector(views))


def test_a_little_noise_on_smooth_images_is_found() -> None:
    smooth = torch.nn.AvgPool2d(5, stride=1)
    train, clean = smooth(noise(60, 1, 36, 36, seed=1)), smooth(noise(30, 1, 36, 36))
    detector = RadialLogPower(8).fit([Views(train)])
    noisy = clean + 0.05 * noise(*clean.shape, seed=2)
    assert detection_auc(detector(Views(clean)).numpy(), detector(Views(noisy)).numpy()) > 0.95


def test_gradient_is_that_of_finite_differences() -> None:
    detector = RadialLogPower(2).double().fit([Views(noise(9, 1, 5, 6, seed=1))])
    image = noise(2, 1, 5, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: detector(Views(x)), image)


def test_gradient_is_finite_where_it_has_no_direction() -> None:
    detector = RadialLogPower(2).fit([Views(noise(9, 1, 8, 8, seed=1))])
    empty = torch.zeros(1, 1, 8, 8, requires_grad=True)
    at_the_mean = torch.rand(1, 1, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(detector(Views(empty)).sum(), empty)
    assert bool(gradient.isfinite().all())
    detector.mean.copy_(detector.profile(Views(at_the_mean))[0].detach())
    (gradient,) = torch.autograd.grad(detector(Views(at_the_mean)).sum(), at_the_mean)
    assert bool(gradient.isfinite().all())


def test_not_fitted_scores_nan() -> None:
    assert bool(RadialLogPower(4)(Views(torch.rand(2, 1, 16, 16))).isnan().all())


@pytest.mark.parametrize(
    "setting", [{"bins": 0}, {"channels": 0}, {"floor": 0.0}, {"floor": -1.0}, {"floor": math.inf}, {"floor": math.nan}]
)
def test_bad_settings_are_refused(setting: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(setting))}.* must be positive"):
        RadialLogPower(**setting)


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="2 channels, but the detector is for 1"):
        RadialLogPower()(Views(torch.rand(1, 2, 64, 64)))
    with pytest.raises(ValueError, match=r"\(8, 8\).*16 rings"):
        RadialLogPower(16)(Views(torch.rand(1, 1, 8, 8)))


def test_training_images_that_say_nothing_are_refused() -> None:
    detector, image = RadialLogPower(4), noise(1, 16, 16)
    with pytest.raises(ValueError, match="at least two images"):
        detector.fit([])
    with pytest.raises(ValueError, match="got 1"):
        detector.fit([Views(image[None])])
    with pytest.raises(ValueError, match="one and the same"):
        detector.fit([Views(torch.stack([image, image]))])
    with pytest.raises(ValueError, match="NaN"):
        detector.fit([Views(torch.stack([image, image * math.nan]))])
    assert bool(detector.mean.isnan().all())
