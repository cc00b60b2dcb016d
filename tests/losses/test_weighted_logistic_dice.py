# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The paper's loss: the weights belong to the pixels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from monai_shield.losses import WeightedLogisticDiceLoss, label_boundary, median_frequency_weights

SIZES = [(6, 8), (4, 6, 8)]


def problem(size: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 4, *size, generator=generator), torch.randint(0, 4, (2, 1, *size), generator=generator)


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_logistic_term_is_torchs_weighted_cross_entropy(size: tuple[int, ...]) -> None:
    logits, label = problem(size)
    weights = torch.tensor([0.1, 1.0, 3.0, 7.0])
    loss = WeightedLogisticDiceLoss(weights, boundary_weight=0.0, dice_weight=0.0)
    torch.testing.assert_close(loss(logits, label), F.cross_entropy(logits, label[:, 0], weight=weights))


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_class_weights_act(size: tuple[int, ...]) -> None:
    logits, label = problem(size)
    light = WeightedLogisticDiceLoss([1.0, 1.0, 1.0, 1.0])
    heavy = WeightedLogisticDiceLoss([1.0, 1.0, 1.0, 50.0])
    logits = logits - 5 * F.one_hot(label[:, 0], 4).movedim(-1, 1) * (label == 3)  # wrong where the label is 3
    assert heavy(logits, label) > light(logits, label) * 1.2


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_a_perfect_prediction_costs_nothing(size: tuple[int, ...]) -> None:
    _, label = problem(size)
    logits = 60.0 * F.one_hot(label[:, 0], 4).movedim(-1, 1)
    assert float(WeightedLogisticDiceLoss()(logits, label)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_certain_probabilities_cost_what_their_classes_do(size: tuple[int, ...]) -> None:
    logits, label = problem(size)
    certain = F.one_hot(label[:, 0], 4).movedim(-1, 1).float()
    loss = WeightedLogisticDiceLoss([0.1, 1.0, 3.0, 7.0])
    torch.testing.assert_close(loss(logits, certain), loss(logits, label))


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_probabilities_cost_least_where_they_are_met(size: tuple[int, ...]) -> None:
    logits, _ = problem(size)
    loss = WeightedLogisticDiceLoss([0.1, 1.0, 3.0, 7.0])
    met = logits.clone().requires_grad_()
    value = loss(met, logits.softmax(1))
    value.backward()
    assert float(met.grad.abs().max()) < 1e-6
    assert all(float(loss(logits + 0.3 * torch.randn_like(logits), logits.softmax(1))) > float(value) for _ in range(3))


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_a_pixel_of_probabilities_weighs_what_its_most_likely_class_does(size: tuple[int, ...]) -> None:
    logits, _ = problem(size)
    probabilities = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)).softmax(1)
    class_weights = torch.tensor([0.1, 1.0, 3.0, 7.0])
    loss = WeightedLogisticDiceLoss(class_weights, boundary_weight=0.0, dice_weight=0.0)
    weights = class_weights[probabilities.argmax(1)]
    costs = -(probabilities * logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(loss(logits, probabilities), (weights * costs).sum() / weights.sum())


def test_dice_term_has_squared_denominators_and_no_background() -> None:
    logits, label = problem((6, 8))
    p, g = logits.softmax(1), F.one_hot(label[:, 0], 4).movedim(-1, 1).float()
    axes = (0, 2, 3)
    dice = 2 * (p * g).sum(axes) / (p.square().sum(axes) + g.square().sum(axes))
    term = WeightedLogisticDiceLoss()(logits, label) - WeightedLogisticDiceLoss(dice_weight=0.0)(logits, label)
    assert float(term) == pytest.approx(1 - float(dice[1:].mean()), abs=1e-5)


def test_boundary_of_a_square() -> None:
    label = torch.zeros(1, 1, 6, 6, dtype=torch.long)
    label[..., 2:4, 2:4] = 1
    # the square's four pixels and the eight that share an edge with it
    assert int(label_boundary(label).sum()) == 12
    assert not bool(label_boundary(torch.ones(1, 1, 5, 5, 5)).any())


def test_boundary_weight_is_added_to_the_pixel() -> None:
    label = torch.zeros(1, 1, 4, 4, dtype=torch.long)
    label[..., 2:, :] = 1
    weights = WeightedLogisticDiceLoss([1.0, 2.0], boundary_weight=5.0).pixel_weights(label)
    assert weights[0, :, 0].tolist() == [1.0, 6.0, 7.0, 2.0]


def test_median_frequency_by_hand() -> None:
    label = torch.tensor([0] * 8 + [1] * 4 + [2] * 2)
    assert median_frequency_weights([label], 4).tolist() == [0.5, 1.0, 2.0, 0.0]
    assert median_frequency_weights([{"label": label}], 3, power=0.5)[2] == pytest.approx(2**0.5)


def test_shapes_that_do_not_fit_are_named() -> None:
    logits, label = problem((6, 8))
    with pytest.raises(ValueError, match="does not fit"):
        WeightedLogisticDiceLoss()(logits, label[..., :-1])
    with pytest.raises(ValueError, match="3 class weights for 4"):
        WeightedLogisticDiceLoss([1.0, 1.0, 1.0])(logits, label)
