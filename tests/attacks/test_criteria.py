# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from torch import nn

from monai_shield.attacks import (
    APGD,
    DAG,
    PGD,
    AllOf,
    AnyOf,
    RemainingShare,
    StructureDice,
    TargetDice,
)
from monai_shield.attacks.problem import Problem

CLASSES = 4
SHAPES = [(3, 6, 5), (2, 4, 3, 5)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])


def pose(label, target=None, void=None):
    one = torch.ones(len(label), 1, *[1] * (label.ndim - 1))
    void = torch.zeros_like(label, dtype=torch.bool) if void is None else void
    return Problem(
        image=label.unsqueeze(1).float(),
        label=label,
        target=target,
        void=void,
        attacked=~void,
        support=None,
        low=-one,
        high=one,
        window=one,
        index=torch.arange(len(label)),
    )


def judge(criterion, prediction, problem):
    return criterion(prediction, problem.attacked & (prediction == problem.label), problem).tolist()


def dice_by_hand(prediction, label, structure=None):
    """Pixel by pixel, in plain Python."""
    pairs = list(zip(prediction.flatten().tolist(), label.flatten().tolist()))
    values = []
    for k in range(1, CLASSES) if structure is None else [structure]:
        both = sum(p == k and t == k for p, t in pairs)
        total = sum(p == k for p, _ in pairs) + sum(t == k for _, t in pairs)
        if total:
            values.append(2 * both / total)
        elif structure is not None:
            values.append(1.0)
    return sum(values) / len(values) if values else 1.0


@given(st.integers(0, 10_000), st.sampled_from(SHAPES), st.sampled_from([None, 1, 2, 3]), st.integers(1, CLASSES))
def test_dice_is_that_of_counting_pixels(seed, shape, structure, classes):
    generator = torch.Generator().manual_seed(seed)
    # few classes often leave a structure out of one map or of both
    label = torch.randint(classes, shape, generator=generator)
    prediction = torch.randint(CLASSES if seed % 2 else classes, shape, generator=generator)
    for i in range(shape[0]):
        dice = dice_by_hand(prediction[i], label[i], structure)
        row = slice(i, i + 1)
        if dice < 1:
            assert judge(StructureDice(dice + 1e-6, structure), prediction[row], pose(label[row])) == [True]
        if dice > 1e-6:
            assert judge(StructureDice(dice - 1e-6, structure), prediction[row], pose(label[row])) == [False]
            targeted = pose(torch.zeros_like(label[row]), label[row])
            assert judge(TargetDice(dice - 1e-6, structure), prediction[row], targeted) == [True]
        if dice < 1 - 1e-6:
            targeted = pose(torch.zeros_like(label[row]), label[row])
            assert judge(TargetDice(dice + 1e-6, structure), prediction[row], targeted) == [False]


@every_shape
def test_absent_structures(shape):
    absent = torch.zeros(shape, dtype=torch.long)
    hallucinated = absent.clone()
    hallucinated[:, 0] = 2
    assert not any(judge(StructureDice(0.5, 2), absent, pose(absent)))  # nobody was harmed
    assert not any(judge(StructureDice(0.5), absent, pose(absent)))
    assert all(judge(StructureDice(0.5, 2), hallucinated, pose(absent)))
    assert all(judge(StructureDice(0.5), hallucinated, pose(absent)))


def test_void_pixels_do_not_count():
    label = torch.tensor([[[1, 1, 0, 0]]])
    prediction = torch.tensor([[[1, 1, 1, 1]]])
    void = torch.tensor([[[False, False, True, True]]])
    assert judge(StructureDice(0.99, 1), prediction, pose(label)) == [True]
    assert judge(StructureDice(0.99, 1), prediction, pose(label, void=void)) == [False]


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5])
def test_share_of_pixels(share):
    label = torch.ones(1, 4, 4, dtype=torch.long)
    for right in range(17):
        prediction = torch.ones(16, dtype=torch.long)
        prediction[right:] = 0
        assert judge(RemainingShare(share), prediction.reshape(1, 4, 4), pose(label)) == [right / 16 <= share]


def test_combinations():
    label = torch.tensor([[[1, 1, 2, 2]]])
    problem = pose(label)
    first, second = StructureDice(0.1, 1), StructureDice(0.1, 2)
    for prediction, one, two in [
        ([1, 1, 2, 2], 0, 0),
        ([0, 0, 2, 2], 1, 0),
        ([1, 1, 0, 0], 0, 1),
        ([0, 0, 0, 0], 1, 1),
    ]:
        prediction = torch.tensor([[prediction]])
        assert judge(first & second, prediction, problem) == [bool(one and two)]
        assert judge(first | second, prediction, problem) == [bool(one or two)]
        assert judge((first & second) | first, prediction, problem) == [bool(one)]
    assert first & second == AllOf((first, second))
    assert first | second == AnyOf((first, second))


class Two(nn.Module):
    """Two structures, one that falls at a change of 0.1 (left half) and one that falls at 0.3 (right half)."""

    def forward(self, image):
        left = torch.arange(image.shape[-1]) < image.shape[-1] // 2
        margin = image - torch.where(left, 0.9, 0.7)
        weak = torch.where(left, margin, -math.inf)
        strong = torch.where(left, -math.inf, margin)
        return torch.cat([torch.zeros_like(image), weak, strong], 1)


ATTACKS = [
    DAG(step=0.02, max_steps=60, bounds=(0, 1)),
    PGD(0.5, step_size=0.02, max_steps=60, random_start=False, stop_early=True, bounds=(0, 1)),
    APGD(0.5, step_size=0.04, max_steps=60, random_start=False, stop_early=True, bounds=(0, 1)),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_an_attack_stops_when_its_criterion_is_met(attack):
    image = torch.ones(1, 1, 4, 8)
    network = Two()
    results = {
        name: replace(attack, criterion=criterion)(network, image)
        for name, criterion in {
            "weak": StructureDice(0.0, 1),
            "strong": StructureDice(0.0, 2),
            "both": StructureDice(0.0, 1) & StructureDice(0.0, 2),
            "either": StructureDice(0.0, 1) | StructureDice(0.0, 2),
        }.items()
    }
    assert all(result.success.all() for result in results.values())
    assert results["either"].steps == results["weak"].steps
    assert results["both"].steps == results["strong"].steps
    assert results["weak"].steps < results["strong"].steps
    assert not (network(results["weak"].image).argmax(1) == 1).any()
    assert (network(results["weak"].image).argmax(1) == 2).any()


class ComesBack(nn.Module):
    """A small structure (one column) that is gone between 0.8 and 0.9 only, and a large one that is gone below 0.7.

    The last channel never wins; it is there to lead an attack downhill.
    """

    def forward(self, image):
        small = torch.arange(image.shape[-1]) == 0
        column = torch.where(small, (image - 0.85).abs() - 0.05, -math.inf)
        rest = torch.where(small, -math.inf, image - 0.7)
        return torch.cat([torch.zeros_like(image), column, rest, -100 - image], 1)


def test_of_its_iterates_an_image_keeps_one_that_meets_the_criterion():
    def downhill(logits, problem, not_fooled, progress):
        return logits[:, 3].flatten(1).sum(1)

    image = torch.ones(1, 1, 4, 8)
    attack = PGD(0.5, 0.04, 12, random_start=False, keep="fewest", loss=downhill, bounds=(0, 1))
    fewest = attack(ComesBack(), image)
    assert fewest.remaining == 1 / 8  # where the large structure is gone and the small one is back
    assert fewest.image.max() < 0.7
    met = replace(attack, criterion=StructureDice(0.0, 1))(ComesBack(), image)
    assert met.success
    assert met.remaining == 7 / 8  # more pixels are not yet fooled, but the one structure is gone
    assert 0.8 < met.image.min() < 0.9


def test_success_is_not_that_of_the_share_alone():
    image = torch.ones(1, 1, 4, 8)
    half = PGD(0.15, max_steps=20, bounds=(0, 1))
    result = half(Two(), image)
    assert not result.success
    assert result.remaining == 0.5
    assert PGD(0.15, max_steps=20, bounds=(0, 1), criterion=RemainingShare(0.5))(Two(), image).success


def test_nothing_to_attack_is_a_success_whatever_the_criterion():
    image = torch.ones(1, 1, 4, 8)
    result = PGD(0.1, criterion=StructureDice(0.0, 1))(Two(), image, mask=torch.zeros(1, 1, 4, 8))
    assert result.success
    assert result.steps == 0


def test_from_a_config():
    config = {
        "attack": {
            "_target_": "monai_shield.attacks.DAG",
            "criterion": {
                "_target_": "monai_shield.attacks.AllOf",
                "criteria": [
                    {"_target_": "monai_shield.attacks.RemainingShare", "at_most": 0.1},
                    {"_target_": "monai_shield.attacks.StructureDice", "at_most": 0.2, "structure": 1},
                ],
            },
        }
    }
    attack = ConfigParser(config).get_parsed_content("attack")
    assert list(attack.criterion.criteria) == [RemainingShare(0.1), StructureDice(0.2, 1)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RemainingShare(1.0), "at_most"),
        (lambda: RemainingShare(math.nan), "at_most"),
        (lambda: StructureDice(-0.1), "at_most"),
        (lambda: StructureDice(0.5, 0), "foreground"),
        (lambda: TargetDice(0.0), "at_least"),
        (lambda: TargetDice(0.5, -1), "foreground"),
        (lambda: AllOf(()), "at least"),
        (lambda: AnyOf([]), "at least"),
        (lambda: PGD(0.1, max_steps=2, criterion=TargetDice(0.5))(Two(), torch.ones(1, 1, 4, 8)), "targeted"),
    ],
)
def test_what_is_wrong_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
