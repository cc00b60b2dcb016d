# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A sequence of detectors decides as they do one after the other, and keeps the rate that they share."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_shield.detectors import (
    Calibration,
    Detector,
    HighFrequencyEnergy,
    SequentialDetector,
    UncalibratedError,
    Views,
    ZeroShare,
)
from monai_shield.detectors.calibration import Rule
from monai_shield.detectors.sequential import sequential_score


class Recorded(Detector):
    """Scores an image by one of its pixels."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place

    def forward(self, views: Views) -> torch.Tensor:
        return views.image.flatten(1)[:, self.place]


def sequence(number: int) -> SequentialDetector:
    return SequentialDetector({f"detector {place}": Recorded(place) for place in range(number)})


def seen(scores: torch.Tensor) -> list[Views]:
    """Images whose pixels are the scores of the detectors, (n, K), in two batches."""
    return [Views(part[:, None, None, :]) for part in scores.tensor_split(2)]


def one_after_the_other(detectors: list[Detector], image: torch.Tensor) -> bool:
    """Whether an image, (1, C, H, W), is stopped on its way."""
    return any(bool(detector.calibrated().rejects(detector(Views(image)))) for detector in detectors)


def clean_scores(seed: int, number: int) -> torch.Tensor:
    """Scores of 40 to 60 images, (n, K), of few values: many ties."""
    generator = torch.Generator().manual_seed(seed)
    images = int(torch.randint(40, 61, (), generator=generator))
    return torch.randint(16, (images, number), generator=generator).double()


seeds, numbers = st.integers(0, 2**31), st.integers(1, 4)
rules, rates = st.sampled_from(["conformal", "empirical"]), st.sampled_from([0.1, 0.25, 0.3])


@settings(max_examples=60)
@given(seeds, numbers, rules, rates)
def test_one_threshold_decides_as_the_sequence_does(seed: int, number: int, rule: Rule, t_fp: float) -> None:
    detector = sequence(number)
    detector.calibrate(seen(clean_scores(seed, number)), t_fp, rule)
    generator = torch.Generator().manual_seed(seed + 1)
    new = torch.randint(-2, 36, (24, number), generator=generator).double() / 2  # on, between and beyond the scores
    odd = torch.tensor([math.nan, math.inf, -math.inf]).double()
    for row, column in enumerate(torch.randint(number, (3,), generator=generator).tolist()):
        new[row, column] = odd[row]
    images = new[:, None, None, :]
    rejected = detector.calibrated().rejects(detector(Views(images)))
    stages = list(detector.parts.values())
    assert rejected.tolist() == [one_after_the_other(stages, image[None]) for image in images]
    assert bool(rejected[:3].all())


@settings(max_examples=60)
@given(seeds, numbers, rules, rates)
def test_no_more_than_the_rate_of_the_validation_images_is_rejected(
    seed: int, number: int, rule: Rule, t_fp: float
) -> None:
    clean = clean_scores(seed, number)
    detector = sequence(number)
    detector.calibrate(seen(clean), t_fp, rule)
    rejected = int(detector.calibrated().rejects(detector.scores(seen(clean))).sum())
    assert rejected <= Fraction(str(t_fp)) * len(clean)


def test_detectors_that_never_agree_use_the_whole_rate() -> None:
    """Bonferroni's bound is met where no image is strange to two of them."""
    clean = torch.zeros(120, 3)
    for place in range(3):
        clean[40 * place : 40 * (place + 1), place] = torch.arange(1.0, 41.0)
    detector = sequence(3)
    calibration = detector.calibrate(seen(clean), 0.1, "empirical")
    assert int(calibration.rejects(detector.scores(seen(clean))).sum()) == 12


def test_of_one_detector_the_score_is_its_p_value_relative_to_its_threshold() -> None:
    clean = torch.arange(1.0, 100.0)  # n = 99: the threshold is the 5th largest, 95
    detector = sequence(1)
    detector.calibrate(seen(clean[:, None]), 0.05)
    score = detector(Views(torch.tensor([200.0, 95.5, 95.0, 0.0]).view(4, 1, 1, 1)))
    # p = 1/100, 5/100, 6/100 on the threshold itself, 100/100
    assert score.tolist() == pytest.approx([-1 / 6, -5 / 6, -1.0, -100 / 6])


def test_a_third_of_a_rate_is_exact() -> None:
    """0.05 / 3 of 60 is 1; in floating point it would be less, and 59 images too few."""
    clean = torch.rand(59, 3, generator=torch.Generator().manual_seed(0))
    sequence(3).calibrate(seen(clean), 0.05)
    with pytest.raises(ValueError, match="at least 59"):
        sequence(3).calibrate(seen(clean[1:]), 0.05)


def test_the_limit_of_a_volume_is_that_of_the_sequence() -> None:
    clean = torch.zeros(40, 2)
    clean[0, 0] = clean[1, 1] = 1.0
    volumes = ["a"] * 10 + ["b"] * 30
    calibration = sequence(2).calibrate(seen(clean), 0.1, "empirical", volumes, "here")
    assert calibration.volume_limit == pytest.approx(0.2)
    assert (calibration.num_volumes, calibration.t_fp, calibration.source) == (2, 0.1, "here")


@pytest.mark.parametrize("size", [(8, 12), (6, 8, 10)], ids=["2D", "3D"])
def test_every_threshold_travels_with_the_weights(size: tuple[int, ...], tmp_path) -> None:
    def make() -> SequentialDetector:
        return SequentialDetector({"energy": HighFrequencyEnergy(), "zeros": ZeroShare()})

    # relu: a share of zeros that is the same in all of them is refused
    images = Views(torch.relu(torch.rand(50, 1, *size, generator=torch.Generator().manual_seed(0)) - 0.2))
    detector = make()
    detector.calibrate([images], 0.1, source="here")
    torch.save(detector.state_dict(), tmp_path / "detector.pt")
    again = make()
    again.load_state_dict(torch.load(tmp_path / "detector.pt", weights_only=True))
    assert torch.equal(again(images), detector(images))
    assert again.calibrated().threshold == -1.0


def test_a_threshold_that_single_precision_would_round_up_stays_where_it_is() -> None:
    known = torch.tensor([0.1, 11.3, 12.0], dtype=torch.float64)
    calibration = Calibration.fit(known, 0.4, "empirical")
    assert calibration.threshold == 11.3 < float(torch.tensor(11.3))
    score = sequential_score([(torch.tensor([11.3, 11.4], dtype=torch.float64), calibration)])
    assert score.tolist() == [-1.0, -2 / 3]


def test_without_thresholds_it_refuses() -> None:
    with pytest.raises(UncalibratedError, match="Recorded"):
        sequence(2)(Views(torch.zeros(1, 1, 1, 2)))


def test_after_a_refused_calibration_it_does_not_decide() -> None:
    """Some of its detectors may have new thresholds, the others the old ones."""
    detector = sequence(2)
    clean = torch.rand(40, 2, generator=torch.Generator().manual_seed(0))
    detector.calibrate(seen(clean), 0.1)
    clean[3, 1] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        detector.calibrate(seen(clean), 0.1)
    with pytest.raises(UncalibratedError, match="SequentialDetector"):
        detector.calibrated()


def test_a_sequence_in_a_sequence_decides_as_all_of_its_detectors() -> None:
    clean = torch.rand(100, 3, generator=torch.Generator().manual_seed(0))
    inner = SequentialDetector({str(place): Recorded(place) for place in (1, 2)})
    detector = SequentialDetector({"first": Recorded(0), "then": inner})
    detector.calibrate(seen(clean), 0.1)
    single = [*detector.parts.values(), *inner.parts.values()]
    assert [part.calibrated().t_fp for part in single] == [0.05, 0.05, 0.025, 0.025]
    leaves = [part for part in single if part is not inner]
    images = torch.rand(60, 3, generator=torch.Generator().manual_seed(1))[:, None, None, :] * 1.05
    rejected = detector.calibrated().rejects(detector(Views(images)))
    assert rejected.tolist() == [one_after_the_other(leaves, image[None]) for image in images]
    assert {*rejected.tolist()} == {True, False}


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        SequentialDetector({})
    with pytest.raises(ValueError, match="t_fp"):
        sequence(2).calibrate(seen(torch.rand(40, 2)), 1.5)


def test_a_threshold_chosen_elsewhere_is_kept() -> None:
    calibration = Calibration.fit(torch.arange(40.0), 0.1, volumes=["a", "b"] * 20, threshold=30.0)
    assert calibration.threshold == 30.0
    assert calibration.volume_limit == pytest.approx(5 / 20)
