# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""An adaptive attack that a part of the shield leaves blind refuses, and attacks once the part is wrapped."""

import pytest
import torch
from torch import nn

from monai_shield.adaptive import AdaptivePGD, ShieldedNetwork
from monai_shield.attacks import BPDA
from monai_shield.detectors import DETECTORS, Calibration, Detector, MeanEntropy, SequentialDetector, Views
from monai_shield.reformers import BitDepth

LEVELS = 4  # bits of the reformer: a step of 1/15
EPSILON = 0.1


class Brightness(Detector):
    """Mean intensity, of the image as a reformer leaves it."""

    def __init__(self, reformer: nn.Module) -> None:
        super().__init__()
        self.reformer = reformer
        self.calibration = Calibration.fit(torch.linspace(0.0, 0.5, 40))

    def forward(self, views: Views) -> torch.Tensor:
        return self.reformer(views.image).flatten(1).mean(1)


class Distance(Detector):
    """Mean distance of neighbors, an absolute value: its gradient is 0 on a constant image, and only there."""

    def __init__(self) -> None:
        super().__init__()
        self.calibration = Calibration.fit(torch.linspace(0.0, 0.05, 40))

    def forward(self, views: Views) -> torch.Tensor:
        return views.image.diff(dim=-1).abs().flatten(1).mean(1)


def brighter_than(value: float) -> nn.Module:
    """Class 1 where a pixel is brighter."""
    target = nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        target.weight.copy_(torch.tensor([-1.0, 1.0])[:, None, None, None])
        target.bias.copy_(torch.tensor([value, -value]))
    return target


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def scene() -> torch.Tensor:
    return 0.42 + 0.16 * draw(2, 1, 12, 12)


def test_a_reformer_without_a_gradient_is_refused_by_name_and_attacked_once_it_is_wrapped() -> None:
    target, image, reformer = brighter_than(0.5), scene(), BitDepth(LEVELS)
    detector = Distance()
    settings = {"detector": detector, "epsilon": EPSILON, "max_steps": 10, "bounds": (0.0, 1.0), "penalty": 0.0}
    with pytest.raises(ValueError, match=r"^reformer BitDepth passes no gradient: wrap it in BPDA\.$"):
        AdaptivePGD(reformer=reformer, **settings)(target, image)

    result = AdaptivePGD(reformer=BPDA(reformer), **settings)(target, image)
    assert bool((result.norm_linf > EPSILON / 2).all())
    shielded = ShieldedNetwork(target, detector, reformer)  # the shield itself, nothing wrapped
    label = shielded(image).argmax(1)
    assert float((shielded(result.image).argmax(1) != label).float().mean()) > 0.9
    noise = EPSILON * (2 * draw(*image.shape, seed=1) - 1)
    assert float((shielded(image + noise).argmax(1) != label).float().mean()) < 0.5  # what it takes is an attack


def test_a_score_without_a_gradient_is_refused_by_name_unless_it_plays_no_part() -> None:
    target, image = brighter_than(0.5), scene()
    settings = {"epsilon": EPSILON, "max_steps": 10, "bounds": (0.0, 1.0)}
    blind, seeing = Brightness(BitDepth(LEVELS)), Brightness(BPDA(BitDepth(LEVELS)))
    with pytest.raises(ValueError, match=r"^the score of Brightness has no gradient: wrap .* in BPDA"):
        AdaptivePGD(detector=blind, **settings)(target, image)
    assert bool((AdaptivePGD(detector=blind, penalty=0.0, **settings)(target, image).norm_linf > 0).all())

    darkest = torch.zeros(2, 1, 12, 12, dtype=torch.long)  # the way from it is up, and the score with it
    free, kept = (
        AdaptivePGD(detector=seeing, penalty=penalty, **settings)(target, image, darkest).image
        for penalty in (0.0, 1000.0)
    )
    limit = seeing.calibrated().threshold
    assert bool((blind(Views(free)) > limit).all())
    assert bool((blind(Views(kept)) <= limit).all())


def test_a_part_that_hides_its_graph_is_refused_too() -> None:
    class Detached(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.detach()

    with pytest.raises(ValueError, match="reformer Detached passes no gradient"):
        AdaptivePGD(detector=Distance(), reformer=Detached(), epsilon=EPSILON)(brighter_than(0.5), scene())


def test_a_sequence_is_attacked_through_the_scores_and_thresholds_of_its_parts() -> None:
    """Its own score has no gradient. One part without one is refused by the name it has in the sequence."""
    target, image = brighter_than(0.5), scene()
    settings = {"epsilon": EPSILON, "max_steps": 20, "bounds": (0.0, 1.0)}
    sequence = SequentialDetector({"neighbors": Distance(), "light": Brightness(nn.Identity())})
    views = [Views(scene() + 0.02 * draw(2, 1, 12, 12, seed=i)) for i in range(30)]
    sequence.calibrate(views, t_fp=0.1)
    free, kept = (
        AdaptivePGD(detector=sequence, penalty=penalty, margin=0.01, **settings)(target, image).image
        for penalty in (0.0, 1000.0)
    )
    limit = sequence.calibrated().threshold
    assert bool((sequence(Views(free)) > limit).all())
    assert bool((sequence(Views(kept)) <= limit).all())
    assert not torch.equal(kept, image)

    blind = SequentialDetector({"neighbors": Distance(), "light": Brightness(BitDepth(LEVELS))})
    blind.calibrate(views, t_fp=0.1)
    with pytest.raises(ValueError, match="the score of light, Brightness has no gradient"):
        AdaptivePGD(detector=blind, **settings)(target, image)


def test_excesses_are_above_0_exactly_where_an_image_is_rejected() -> None:
    target, reformer = brighter_than(0.5), nn.AvgPool2d(3, 1, 1)
    views = [Views((draw(4, 1, 16, 16, seed=i) - 0.03 * i).clamp(min=0), target, reformer) for i in range(12)]
    for kind in DETECTORS:
        detector = kind.example((16, 16))
        detector.fit(views)
        calibration = detector.calibrate(views[:10], t_fp=0.2)
        for each in views:
            rejected = detector(each) > calibration.threshold
            above = torch.stack([excess > 0 for excess in detector.excesses(each).values()]).any(0)
            assert torch.equal(above, rejected), kind


def test_a_gradient_that_vanishes_on_the_clean_image_only_is_none_that_lacks() -> None:
    image = torch.full((1, 1, 8, 8), 0.45)
    result = AdaptivePGD(detector=Distance(), epsilon=EPSILON, max_steps=5, bounds=(0.0, 1.0))(
        brighter_than(0.5), image
    )
    assert float(result.norm_linf) > 0


@pytest.mark.parametrize("steps", [1, 7])
def test_the_check_costs_one_pass_whatever_the_steps(steps: int) -> None:
    target, calls = brighter_than(0.5), []
    target.register_forward_hook(lambda *_: calls.append(1))
    AdaptivePGD(detector=Distance(), epsilon=EPSILON, max_steps=steps, bounds=(0.0, 1.0))(target, scene())
    assert len(calls) == 1 + 1 + (steps + 1)  # the clean prediction, the check, and the iterates


def test_a_network_that_draws_is_attacked_with_the_draws_it_had_without_the_check() -> None:
    class Drawing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.target, self.seen = brighter_than(0.5), []

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            noise = 0.01 * torch.randn_like(image)
            self.seen.append(noise)
            return self.target(image + noise)

    target = Drawing()
    AdaptivePGD(detector=MeanEntropyOf(), epsilon=EPSILON, max_steps=2, bounds=(0.0, 1.0))(target, scene())
    assert torch.equal(target.seen[1], target.seen[2])  # the check, and the first iterate


class MeanEntropyOf(MeanEntropy):
    def __init__(self) -> None:
        super().__init__()
        self.calibration = Calibration.fit(torch.linspace(0.0, 1.0, 40))
