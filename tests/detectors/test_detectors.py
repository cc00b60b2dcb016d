# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Closed forms of the detectors, in 2D and 3D."""

import math

import pytest
import torch
from torch import nn

from monai_shield.detectors import (
    Calibration,
    HighFrequencyEnergy,
    PredictionConsistency,
    ReconstructionBatch,
    ReconstructionDetector,
    Views,
    ZeroShare,
    entropy,
    jensen_shannon,
)

SIZES = [(8, 12), (6, 8, 10)]


def images(size: tuple[int, ...], batch: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, 1, *size, generator=torch.Generator().manual_seed(seed))


def conv(size: tuple[int, ...], out: int) -> nn.Module:
    kind = nn.Conv2d if len(size) == 2 else nn.Conv3d
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(1, out, 3, padding=1)


@torch.no_grad()
def test_the_target_runs_as_the_caller_has_it_and_the_rest_in_full_precision() -> None:
    seen: dict[str, torch.dtype] = {}

    def reformer(x: torch.Tensor) -> torch.Tensor:
        seen["reformer"] = conv((8, 8), 1)(x).dtype
        return x

    image = images((8, 8))
    with torch.autocast("cpu", torch.bfloat16):
        shared = Views(image, conv((8, 8), 4), reformer)
        PredictionConsistency()(shared)
        assert shared.prediction.dtype == shared.reformed_prediction.dtype == torch.bfloat16
        answer = conv((8, 8), 4)(image)
    assert torch.equal(shared.prediction, answer)
    assert seen == {"reformer": torch.float32}
    assert torch.is_autocast_enabled("cpu") is False


@pytest.mark.parametrize("function", [entropy, lambda z: jensen_shannon(z, -z)], ids=["entropy", "jensen_shannon"])
def test_logits_in_half_precision_are_compared_in_float32(function) -> None:
    z = (3 * torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0))).to(torch.bfloat16)
    assert torch.equal(function(z), function(z.float()))
    assert function(z.double()).dtype == torch.float64


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, math.inf])
def test_reconstruction_error_is_the_p_norm(p: float) -> None:
    image = images((5, 7))
    detector = ReconstructionDetector(nn.Identity(), "space", p=p)
    assert torch.equal(detector(Views(image)), torch.zeros(3))
    half = ReconstructionDetector(nn.Hardtanh(-0.0, 0.5), "space", p=p)  # reconstructs min(x, 1/2)
    residual = (image - 0.5).clamp_min(0).flatten(1)
    by_hand = residual.amax(1) if p == math.inf else residual.pow(p).sum(1).pow(1 / p)
    torch.testing.assert_close(half(Views(image)), by_hand)


def test_without_a_network_the_shift_changes_nothing() -> None:
    """The shift permutes: a score that sees no neighborhood cannot tell."""
    zero = nn.Threshold(math.inf, 0.0)  # reconstructs nothing
    train, image = images((8, 8), 9, seed=2), images((8, 8))
    scores = [
        ReconstructionDetector(zero, domain, spatial_size=(8, 8)).fit([Views(train)])(Views(image))  # type: ignore[arg-type]
        for domain in ("frequency", "shifted_frequency")
    ]
    torch.testing.assert_close(*scores)


def test_standardization_gives_each_frequency_mean_0_and_deviation_1() -> None:
    train = images((6, 9), 50)
    detector = ReconstructionDetector(nn.Identity(), spatial_size=(6, 9)).fit([Views(train)])
    seen = detector.represent(Views(train))
    torch.testing.assert_close(seen.mean(0), torch.zeros(1, 6, 9), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.std(0, correction=0), torch.ones(1, 6, 9), atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
@pytest.mark.parametrize("domain", ["frequency", "shifted_frequency"])
@pytest.mark.parametrize("part", ["magnitude", "log_magnitude", "real_imaginary"])
def test_one_scale_is_that_of_all_values_together(size: tuple[int, ...], domain: str, part: str) -> None:
    train = images(size, 20) + 1
    spectra = torch.fft.fftn(train.double(), dim=tuple(range(2, train.ndim)), norm="forward")
    values = {
        "magnitude": spectra.abs(),
        "log_magnitude": spectra.abs().log(),
        "real_imaginary": torch.cat([spectra.real, spectra.imag], dim=1),
    }[part]
    detector = ReconstructionDetector(nn.Identity(), domain, size, part=part, scaling="global").fit([Views(train)])  # type: ignore[arg-type]
    for found, expected in ((detector.mean, values.mean()), (detector.std, values.std(correction=0))):
        assert found.shape == values.shape[1:]
        assert bool((found == found.flatten()[0]).all())
        # float32, and a logarithm that is kept from zero
        assert float(found.flatten()[0]) == pytest.approx(float(expected), rel=1e-3, abs=1e-5)
    seen = detector.represent(Views(train))
    assert float(seen.mean()) == pytest.approx(0, abs=1e-3)
    assert float(seen.std(correction=0)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_not_scaled_it_sees_the_spectrum_as_it_is(size: tuple[int, ...]) -> None:
    image, axes = images(size), tuple(range(2, len(size) + 2))
    spectrum = torch.fft.fftshift(torch.fft.fftn(image, dim=axes, norm="forward"), dim=axes)
    plain = ReconstructionDetector(nn.Identity(), spatial_size=size, scaling="none")
    torch.testing.assert_close(plain.represent(Views(image)), spectrum.abs())
    both = ReconstructionDetector(nn.Identity(), spatial_size=size, part="real_imaginary", scaling="none")
    torch.testing.assert_close(both.represent(Views(image)), torch.cat([spectrum.real, spectrum.imag], dim=1))


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
@pytest.mark.parametrize("channels", [1, 2])
def test_real_and_imaginary_part_are_all_there_is(size: tuple[int, ...], channels: int) -> None:
    """By Parseval, of a network that reconstructs nothing the error is the root mean square of the image."""
    image = torch.rand(3, channels, *size, generator=torch.Generator().manual_seed(0))
    nothing = nn.Threshold(math.inf, 0.0)
    for domain in ("frequency", "shifted_frequency"):
        detector = ReconstructionDetector(nothing, domain, size, channels, "real_imaginary", scaling="none")  # type: ignore[arg-type]
        assert detector.mean.shape == (2 * channels, *size)
        torch.testing.assert_close(detector(Views(image)).square(), image.square().flatten(2).mean(dim=2).sum(dim=1))


def test_real_and_imaginary_part_tell_a_shift_of_the_image_which_the_magnitude_cannot() -> None:
    train, image = images((8, 8), 9, seed=2), images((8, 8))
    moved = image.roll((2, 3), dims=(2, 3))
    zero = nn.Threshold(math.inf, 0.0)
    magnitude = ReconstructionDetector(zero, spatial_size=(8, 8)).fit([Views(train)])
    torch.testing.assert_close(magnitude(Views(moved)), magnitude(Views(image)), rtol=1e-4, atol=1e-4)
    both = ReconstructionDetector(zero, spatial_size=(8, 8), part="real_imaginary").fit([Views(train)])
    assert not torch.allclose(both(Views(moved)), both(Views(image)), rtol=1e-2)


def test_real_and_imaginary_part_are_standardized_each_by_itself() -> None:
    train = images((6, 9), 50)
    detector = ReconstructionDetector(nn.Identity(), spatial_size=(6, 9), part="real_imaginary").fit([Views(train)])
    seen = detector.represent(Views(train))
    assert seen.shape == (50, 2, 6, 9)
    torch.testing.assert_close(seen.mean(0), torch.zeros(2, 6, 9), atol=1e-3, rtol=0)
    deviation = seen.std(0, correction=0)
    # the imaginary part of the zero frequency of a real image is zero, and stays so
    alone = deviation < 0.5
    assert alone.nonzero().tolist() == [[1, 0, 4], [1, 3, 4]]
    torch.testing.assert_close(deviation[~alone], torch.ones(106), atol=1e-3, rtol=0)


def test_a_detector_never_fitted_scores_nan_which_is_rejected() -> None:
    score = ReconstructionDetector(nn.Identity(), spatial_size=(8, 8))(Views(images((8, 8))))
    assert bool(torch.isnan(score).all())
    assert bool(Calibration.fit(torch.arange(20.0)).rejects(score).all())


def test_another_size_is_refused_by_name() -> None:
    detector = ReconstructionDetector(nn.Identity(), spatial_size=(8, 8)).fit([Views(images((8, 8)))])
    with pytest.raises(ValueError, match=r"\(1, 9, 8\).*\(1, 8, 8\)"):
        detector(Views(images((9, 8))))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"domain": "wavelet"}, "unknown domain 'wavelet': choose one of space, frequency, shifted_frequency"),
        ({"part": "phase"}, "unknown part 'phase': choose one of magnitude, log_magnitude, real_imaginary"),
        ({"scaling": "image"}, "unknown scaling 'image': choose one of per_frequency, global, none"),
        ({"p": 0.5}, "p must be at least 1, got 0.5"),
        ({"spatial_size": None}, "needs the spatial_size"),
    ],
)
def test_what_is_refused_is_named(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ReconstructionDetector(nn.Identity(), **({"spatial_size": (8, 8)} | settings))


def test_training_batch_is_the_view_twice() -> None:
    detector = ReconstructionDetector(nn.Identity(), spatial_size=(8, 8)).fit([Views(images((8, 8)))])
    given, wanted = ReconstructionBatch(detector)({"image": images((8, 8))}, "cpu")
    assert torch.equal(given, wanted)
    assert torch.equal(given, detector.represent(Views(images((8, 8)))))


def test_jensen_shannon_closed_forms() -> None:
    sure = torch.tensor([[40.0, 0.0]])[:, :, None, None]
    even = torch.zeros(1, 2, 1, 1)
    assert float(jensen_shannon(sure, sure)) == 0
    assert float(jensen_shannon(sure, -sure)) == pytest.approx(math.log(2), abs=1e-6)
    # JS((1, 0), (1/2, 1/2)) = log 2 - 3/4 log(4/3) ... by the definition with m = (3/4, 1/4)
    by_hand = 0.5 * math.log(4 / 3) + 0.5 * (0.5 * math.log(2 / 3) + 0.5 * math.log(2))
    assert float(jensen_shannon(sure, even)) == pytest.approx(by_hand, abs=1e-6)
    assert float(jensen_shannon(even, sure)) == pytest.approx(by_hand, abs=1e-6)


def test_one_sigmoid_channel_is_a_softmax_over_two() -> None:
    first, second = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    pair = [torch.cat([z, torch.zeros_like(z)], 1) for z in (first, second)]
    torch.testing.assert_close(jensen_shannon(first, second, head="sigmoid"), jensen_shannon(*pair))
    torch.testing.assert_close(jensen_shannon(first, second), jensen_shannon(*pair))  # read from the channel


def test_consistency_counts_the_foreground_alone() -> None:
    image = torch.zeros(1, 1, 4, 4)
    image[..., :2, :] = 1
    flat = Views(image, lambda x: torch.cat([40 * x, 0 * x], 1), lambda x: -x)  # the prediction flips in the foreground
    foreground, everywhere = PredictionConsistency()(flat), PredictionConsistency(foreground_only=False)(flat)
    assert float(foreground) == pytest.approx(math.log(2), abs=1e-6)
    assert float(everywhere) == pytest.approx(math.log(2) / 2, abs=1e-6)


def test_consistency_under_a_reformer_of_its_own() -> None:
    halved = Views(images((8, 8)), conv((8, 8), 3), lambda x: 0.5 * x)
    untouched = Views(images((8, 8)), conv((8, 8), 3))
    own = PredictionConsistency(reformer=nn.AvgPool2d(1, divisor_override=2))  # x / 2
    torch.testing.assert_close(own(untouched), PredictionConsistency()(halved))
    assert torch.equal(PredictionConsistency()(untouched), torch.zeros(3))


def test_the_target_runs_twice_and_no_more() -> None:
    calls: list[str] = []

    def target(x: torch.Tensor) -> torch.Tensor:
        calls.append("target")
        return torch.cat([x, -x], 1)

    def reformer(x: torch.Tensor) -> torch.Tensor:
        calls.append("reformer")
        return x

    shared = Views(images((8, 8)), target, reformer)
    PredictionConsistency()(shared)
    assert shared.reformed_prediction is shared.reformed_prediction
    assert sorted(calls) == ["reformer", "target", "target"]
    halving = nn.AvgPool2d(1, divisor_override=2)
    PredictionConsistency(reformer=halving)(shared)
    torch.testing.assert_close(shared.prediction_under(halving), target(0.5 * shared.image))
    assert calls.count("target") == 4  # one for the second reformer, one by this test itself


def test_energy_of_a_wave_is_all_on_one_side() -> None:
    x = torch.arange(32)
    slow = torch.cos(2 * torch.pi * 2 * x / 32).expand(1, 1, 32, 32)
    fast = torch.cos(2 * torch.pi * 14 * x / 32).expand(1, 1, 32, 32)  # 0.4375 cycles per pixel
    assert float(HighFrequencyEnergy()(Views(slow))) == pytest.approx(0, abs=1e-6)
    assert float(HighFrequencyEnergy()(Views(fast))) == pytest.approx(1, abs=1e-6)


def test_zero_share_counts() -> None:
    image = torch.zeros(1, 1, 4, 5)
    image[0, 0, 0, :] = 1
    assert float(ZeroShare()(Views(image))) == pytest.approx(5 / 20)


def test_views_without_a_target_say_so() -> None:
    with pytest.raises(ValueError, match="no target"):
        _ = Views(images((4, 4))).prediction
