# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What holds for every detector of the list, in 2D and 3D: built, fitted, calibrated, scored."""

import pytest
import torch
from torch import nn

from monai_shield.detectors import DETECTORS, Detector, UncalibratedError, ViewBatches, Views, weights_sum

SIZES = [(8, 12), (6, 8, 10)]
CASES = [(kind, size) for kind in DETECTORS for size in SIZES if len(size) in kind.spatial_dims]
pytestmark = pytest.mark.parametrize(
    ("kind", "size"), CASES, ids=[f"{kind.__name__}-{len(size)}D" for kind, size in CASES]
)


def images(size: tuple[int, ...], number: int, seed: int = 0) -> torch.Tensor:
    """Noise, of which more or less is background."""
    noise = torch.rand(number, 1, *size, generator=torch.Generator().manual_seed(seed))
    share = torch.linspace(0.1, 0.6, number).view(number, 1, *[1] * len(size))
    return torch.relu(noise - share)


def conv(size: tuple[int, ...], out: int) -> nn.Module:
    kind = nn.Conv2d if len(size) == 2 else nn.Conv3d
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(1, out, 3, padding=1)


def batches(image: torch.Tensor) -> ViewBatches:
    return ViewBatches(image, conv(tuple(image.shape[2:]), 4), lambda x: 0.9 * x)


def views(image: torch.Tensor) -> Views:
    return Views(image, conv(tuple(image.shape[2:]), 4), lambda x: 0.9 * x)


def example(kind: type[Detector], size: tuple[int, ...]) -> Detector:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind.example(size)


def fitted(kind: type[Detector], size: tuple[int, ...]) -> Detector:
    return example(kind, size).fit(batches(images(size, 20, seed=1)))


def calibrated(kind: type[Detector], size: tuple[int, ...], **settings) -> Detector:
    detector = fitted(kind, size)
    detector.calibrate(batches(images(size, 40, seed=2)), **settings)
    return detector


def test_one_finite_score_an_image_whatever_the_batch(kind: type[Detector], size: tuple[int, ...]) -> None:
    detector, batch = calibrated(kind, size), images(size, 3)
    score = detector(views(batch))
    assert score.shape == (3,)
    assert bool(torch.isfinite(score).all())
    alone = torch.cat([detector(views(batch[i : i + 1])) for i in range(3)])
    torch.testing.assert_close(score, alone)


def test_the_score_comes_with_that_of_each_part(kind: type[Detector], size: tuple[int, ...]) -> None:
    detector, seen = calibrated(kind, size), views(images(size, 3))
    score, parts = detector.score_with_parts(seen)
    assert torch.equal(score, detector(seen))
    assert list(parts) == list(detector.parts)
    assert all(part.shape == score.shape for part in parts.values())


def test_has_a_source(kind: type[Detector], size: tuple[int, ...]) -> None:
    assert kind.info.name
    assert kind.info.paper


def test_what_is_fitted_stays_as_it_is(kind: type[Detector], size: tuple[int, ...]) -> None:
    detector = fitted(kind, size)
    before = weights_sum(detector)
    assert detector.fitted
    assert detector.fit(batches(images(size, 20, seed=3) * 2)) is detector
    assert weights_sum(detector) == before


def test_not_fitted_it_is_not_calibrated_and_rejects(kind: type[Detector], size: tuple[int, ...]) -> None:
    detector = example(kind, size)
    if detector.fitted:
        return
    with pytest.raises(ValueError, match="not fitted: fit it on clean training images"):
        detector.calibrate(batches(images(size, 40)))
    assert bool(detector(views(images(size, 3))).isnan().all())


def test_not_calibrated_it_does_not_decide(kind: type[Detector], size: tuple[int, ...]) -> None:
    with pytest.raises(UncalibratedError, match="run the bundle's calibration"):
        fitted(kind, size).calibrated()


@pytest.mark.parametrize("rule", ["conformal", "empirical"])
def test_no_more_than_the_rate_of_the_calibration_images_is_rejected(
    kind: type[Detector], size: tuple[int, ...], rule: str
) -> None:
    detector = calibrated(kind, size, t_fp=0.1, rule=rule)
    rejected = detector.calibrated().rejects(detector.scores(batches(images(size, 40, seed=2))))
    assert int(rejected.sum()) <= 4


def test_no_images_are_no_calibration(kind: type[Detector], size: tuple[int, ...]) -> None:
    detector = calibrated(kind, size)
    with pytest.raises(ValueError, match="no images to score"):
        detector.calibrate([])
    with pytest.raises(ValueError, match=r"t_fp must be in \(0, 1\), got 1.5"):
        detector.calibrate(batches(images(size, 40)), 1.5)


def test_calibration_travels_with_the_weights(kind: type[Detector], size: tuple[int, ...], tmp_path) -> None:
    detector = calibrated(kind, size, volumes=["a", "b"] * 20, source="here")
    torch.save(detector.state_dict(), tmp_path / "detector.pt")
    again = example(kind, size)
    again.load_state_dict(torch.load(tmp_path / "detector.pt", weights_only=True))
    assert again.fitted
    one, other = detector.calibrated(), again.calibrated()
    assert (one.threshold, one.volume_limit, one.source) == (other.threshold, other.volume_limit, other.source)
    assert (other.source, other.num_volumes) == ("here", 2)
    assert torch.equal(again(views(images(size, 3))), detector(views(images(size, 3))))


class TestPrecision:
    """A score is compared with a threshold of other runs: no rounding of this one may move it."""

    @torch.no_grad()
    def test_autocast_moves_no_score(self, kind: type[Detector], size: tuple[int, ...]) -> None:
        detector, batch = calibrated(kind, size), images(size, 3)

        def target(x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", enabled=False):  # its answer is the same in both
                return conv(size, 4)(x)

        reformer = conv(size, 1)
        plain, parts = detector.score_with_parts(Views(batch, target, reformer))
        with torch.autocast("cpu", torch.bfloat16):
            assert conv(size, 1)(batch).dtype == torch.bfloat16
            score, rounded = detector.score_with_parts(Views(batch, target, reformer))
        assert score.dtype == plain.dtype
        assert score.dtype in (torch.float32, torch.float64)
        assert torch.equal(score, plain)
        assert all(torch.equal(parts[name], rounded[name]) for name in parts)

    @torch.no_grad()
    def test_what_the_caller_cast_to_half_precision_is_scored_in_float32(
        self, kind: type[Detector], size: tuple[int, ...]
    ) -> None:
        target, reformer = (conv(size, channels).to(torch.bfloat16) for channels in (4, 1))
        detector, batch = calibrated(kind, size).to(torch.bfloat16), images(size, 3).to(torch.bfloat16)
        seen = Views(batch, target, reformer)
        score = detector(seen)
        assert score.dtype in (torch.float32, torch.float64)
        assert bool(torch.isfinite(score).all())
        assert seen.reformed_prediction.dtype == torch.bfloat16

    @torch.no_grad()
    def test_double_precision_stays(self, kind: type[Detector], size: tuple[int, ...]) -> None:
        target, reformer = (conv(size, channels).double() for channels in (4, 1))
        score = calibrated(kind, size).double()(Views(images(size, 3).double(), target, reformer))
        assert score.dtype == torch.float64
