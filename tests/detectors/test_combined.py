# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Several detectors as one, by hand."""

import pytest
import torch

from monai_shield.detectors import CombinedDetector, Detector, HighFrequencyEnergy, Views, ZeroShare

PIXELS = 1000


class Written(Detector):
    """Scores an image by what one of its pixels has below 0, where no foreground is."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place

    def forward(self, views: Views) -> torch.Tensor:
        return -views.image.flatten(1)[:, self.place]


def combination(number: int, **settings) -> CombinedDetector:
    return CombinedDetector({f"detector {place}": Written(place) for place in range(number)}, **settings)


def seen(scores: torch.Tensor, foreground: torch.Tensor) -> Views:
    """Images with these scores, (n, K), and this share of foreground, (n,), up to a thousandth."""
    inside = torch.arange(PIXELS - scores.shape[1]) < (PIXELS * foreground).round()[:, None]
    return Views(torch.cat([-scores, inside.float()], dim=1)[:, None, None])


@pytest.mark.parametrize("rule", ["max", "mean"])
def test_of_degree_0_it_is_the_standardized_logarithm(rule: str) -> None:
    scores = torch.tensor([[0.1, 1.0], [0.2, 3.0], [0.4, 9.0]])
    views = seen(scores, torch.tensor([0.1, 0.2, 0.3]))
    combined = combination(2, rule=rule, degree=0).fit([views])
    z = (scores.log() - scores.log().mean(0)) / scores.log().std(0)
    score, parts = combined.score_with_parts(views)
    torch.testing.assert_close(score, z.amax(1) if rule == "max" else z.mean(1))
    torch.testing.assert_close(torch.stack(list(parts.values()), dim=1), z)


def test_it_takes_out_what_the_share_of_foreground_explains() -> None:
    generator = torch.Generator().manual_seed(0)
    foreground = (torch.rand(200, generator=generator) * 0.4 + 0.02).mul(PIXELS).round() / PIXELS
    noise = torch.randn(200, generator=generator)
    # log score = 2 - 1.5 log b + 0.1 noise: a law of degree 1
    score = torch.exp(2 - 1.5 * foreground.log() + 0.1 * noise)[:, None]
    combined = combination(1).fit([seen(score[:80], foreground[:80]), seen(score[80:], foreground[80:])])
    z = combined(seen(score, foreground))
    assert abs(float(torch.corrcoef(torch.stack([z, foreground]))[0, 1])) < 0.02
    assert float(torch.corrcoef(torch.stack([z, noise]))[0, 1]) > 0.98
    # beyond the range that was fitted its end stands in
    torch.testing.assert_close(
        combined(seen(score[:1], torch.ones(1))), combined(seen(score[:1], foreground.max()[None]))
    )


def test_a_part_that_is_fitted_already_is_not_fitted_again_and_the_combination_is() -> None:
    train = Views(torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    inner = CombinedDetector({"energy": HighFrequencyEnergy()}, degree=0).fit([train])
    kept = inner.weights.clone()
    outer = CombinedDetector({"inner": inner}, degree=0)
    assert not outer.fitted
    assert outer.fit([Views(train.image**4)]).fitted
    assert torch.equal(inner.weights, kept)


def test_what_it_cannot_fit_is_refused() -> None:
    combined = combination(1)
    foreground = torch.linspace(0.1, 0.5, 9)
    with pytest.raises(ValueError, match="constant"):
        combined.fit([seen(torch.ones(9, 1), foreground)])
    with pytest.raises(ValueError, match="4 images are too few to fit 4 weights"):
        combined.fit([seen(torch.rand(4, 1), foreground[:4])])
    with pytest.raises(ValueError, match="0 images"):
        combined.fit([])
    assert not combined.fitted
    with pytest.raises(ValueError, match="CombinedDetector needs at least one detector"):
        CombinedDetector({})
    with pytest.raises(ValueError, match="unknown rule 'min'"):
        CombinedDetector({"zeros": ZeroShare()}, "min")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="degree must not be negative"):
        CombinedDetector({"zeros": ZeroShare()}, degree=-1)
