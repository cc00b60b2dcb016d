# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The adaptive attack: stronger than one that does not know the shield, and under its threshold where it can be."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_shield.adaptive import AdaptivePGD, ShieldedNetwork
from monai_shield.attacks import PGD, MultiLabel
from monai_shield.detectors import Calibration, Detector, MeanEntropy, Views, entropy


class Roughness(Detector):
    """Mean absolute difference of neighbors."""

    def forward(self, views: Views) -> torch.Tensor:
        return views.image.diff(dim=-1).abs().flatten(1).mean(1)


class Blur(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(image, 3, 1, 1)


@pytest.fixture
def shield() -> tuple[nn.Module, Detector, nn.Module, torch.Tensor]:
    target = nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        target.weight.copy_(torch.tensor([-1.0, 1.0])[:, None, None, None])
        target.bias.copy_(torch.tensor([0.5, -0.5]))  # class 1 where the pixel is above 1/2
    image = torch.full((2, 1, 12, 12), 0.4)
    image[..., 3:9, 3:9] = 0.6
    detector = Roughness()
    detector.calibration = Calibration.fit(torch.linspace(0.0, 0.06, 40))
    return target, detector, Blur(), image


def test_it_beats_the_attack_that_does_not_know_the_reformer(shield: tuple) -> None:
    target, detector, reformer, image = shield
    settings = {"epsilon": 0.15, "max_steps": 20, "bounds": (0.0, 1.0)}
    shielded = ShieldedNetwork(target, detector, reformer)
    label = shielded(image).argmax(1, keepdim=True)
    blind = PGD(random_start=False, **settings)(target, image, label)
    knowing = AdaptivePGD(detector=detector, reformer=reformer, penalty=0.0, **settings)(target, image, label)

    def wrong(attacked: torch.Tensor) -> float:
        return float((shielded(attacked).argmax(1, keepdim=True) != label).float().mean())

    assert wrong(knowing.image) >= wrong(blind.image)
    assert wrong(knowing.image) > 0


def test_the_penalty_keeps_the_score_down(shield: tuple) -> None:
    target, detector, reformer, image = shield
    settings = {"detector": detector, "reformer": reformer, "epsilon": 0.15, "max_steps": 30, "bounds": (0.0, 1.0)}
    scores = [
        float(detector(Views(AdaptivePGD(penalty=penalty, **settings)(target, image).image)).max())
        for penalty in (0.0, 1000.0)
    ]
    assert scores[1] < scores[0]
    assert scores[1] <= detector.calibrated().threshold


def test_parts_are_left_as_they_were(shield: tuple) -> None:
    target, detector, reformer, image = shield
    target.train()
    AdaptivePGD(detector=detector, reformer=reformer, epsilon=0.1, max_steps=2)(target, image)
    assert target.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in target.parameters())


@pytest.mark.parametrize(
    "settings", [{}, {"loss": "jensen_shannon"}, {"stop_early": True, "stop_share": 0.5}, {"keep": "last"}]
)
def test_without_a_penalty_it_is_pgd_on_the_shielded_network(shield: tuple, settings: dict) -> None:
    """Whatever the settings: none of them gets lost on the way."""
    target, detector, reformer, image = shield
    settings = {"epsilon": 0.15, "max_steps": 8, "bounds": (0.0, 1.0), "random_start": False, **settings}
    plain = PGD(**settings)(ShieldedNetwork(target, detector, reformer), image)
    adaptive = AdaptivePGD(detector=detector, reformer=reformer, penalty=0.0, **settings)(target, image)
    assert torch.equal(adaptive.image, plain.image)
    assert torch.equal(adaptive.steps, plain.steps)
    assert torch.equal(adaptive.success, plain.success)


def test_a_sigmoid_head_is_attacked_and_scored_as_what_it_is(shield: tuple) -> None:
    """The attack sees every combination of labels, the detector the channels themselves."""
    target, _, reformer, image = shield
    detector = MeanEntropy()
    detector.calibration = Calibration.fit(torch.linspace(0.0, 1.0, 40))
    shielded = ShieldedNetwork(target, detector, reformer, "sigmoid")
    logits = shielded(image)
    assert torch.equal(logits, MultiLabel(target)(reformer(image)))
    torch.testing.assert_close(detector(shielded.views), entropy(target(image), "sigmoid").flatten(1).mean(1))

    settings = {"epsilon": 0.15, "max_steps": 8, "bounds": (0.0, 1.0), "random_start": False}
    plain = PGD(**settings)(nn.Sequential(reformer, MultiLabel(target)), image)
    adaptive = AdaptivePGD(detector=detector, reformer=reformer, penalty=0.0, head="sigmoid", **settings)(target, image)
    assert torch.equal(adaptive.image, plain.image)


def test_one_channel_is_attacked_and_scored_as_two_classes(shield: tuple) -> None:
    target, _, reformer, image = shield
    single = nn.Conv2d(1, 1, 1)
    with torch.no_grad():  # its logit is that of the two classes' difference
        single.weight.copy_(target.weight[1:] - target.weight[:1])
        single.bias.copy_(target.bias[1:] - target.bias[:1])
    detector = MeanEntropy()
    detector.calibration = Calibration.fit(torch.linspace(0.0, 0.5, 40))
    settings = {"detector": detector, "reformer": reformer, "epsilon": 0.1, "max_steps": 5, "bounds": (0.0, 1.0)}
    one, two = (AdaptivePGD(**settings)(network, image).image for network in (single, target))
    assert not torch.equal(one, image)
    torch.testing.assert_close(one, two)


def test_heads_that_do_not_fit_are_refused(shield: tuple) -> None:
    target, detector, reformer, image = shield
    with pytest.raises(ValueError, match="not a MultiLabel around it"):
        AdaptivePGD(detector=detector, reformer=reformer, epsilon=0.1, head="sigmoid")(MultiLabel(target), image)
    with pytest.raises(ValueError, match="one channel: declare 'sigmoid'"):
        AdaptivePGD(detector=detector, epsilon=0.1, head="softmax")(nn.Conv2d(1, 1, 1), image)
