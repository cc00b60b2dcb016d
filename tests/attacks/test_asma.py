# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from torch import nn

from monai_shield.attacks import ASMA
from monai_shield.attacks.asma import target_iou
from monai_shield.attacks.problem import Problem

WIDE = (-9.0, 9.0)
SHAPES = [(3, 1, 6, 5), (1, 1, 7, 4), (2, 1, 5, 4, 3)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=["2d", "one", "3d"])


def draw(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("window", [1.0, 40.0])
@pytest.mark.parametrize("dims", [2, 3])
def test_two_steps_by_the_formula(dims, window):
    conv = nn.Conv2d if dims == 2 else nn.Conv3d
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = nn.Sequential(conv(1, 5, 3, padding=1), nn.SiLU(), conv(5, 3, 3, padding=1)).double()
    clean, beta, tau = draw((2, 1, 6, 5, 4)[: dims + 2]), 0.02 / window, 0.01 / window
    logits = network(clean).detach()
    label, target = logits.argmax(1), logits.topk(2, dim=1).indices[:, 1]
    expected = clean
    for _ in range(2):
        x = expected.clone().requires_grad_()
        logits = network(x)
        prediction = logits.argmax(1)
        total = -((x - clean) / window).square().sum()
        for b, *place in (prediction != target).nonzero().tolist():
            total = total + logits[(b, int(target[(b, *place)]), *place)]
        (gradient,) = torch.autograd.grad(total, x)
        ious = torch.zeros(2, dtype=torch.float64)
        for b in range(2):
            classes = set(prediction[b].flatten().tolist()) | set(target[b].flatten().tolist())  # all are attacked
            both = [float(((prediction[b] == k) & (target[b] == k)).sum()) for k in classes]
            either = [float(((prediction[b] == k) | (target[b] == k)).sum()) for k in classes]
            ious[b] = sum(x / y for x, y in zip(both, either)) / len(classes)
        multiplier = (beta * ious + tau).reshape(-1, *[1] * (dims + 1))
        expected = (expected + multiplier * window**2 * gradient).clamp(*WIDE)
    result = ASMA("runner_up", beta, tau, max_steps=2, bounds=WIDE, window=window)(network, clean, label)
    torch.testing.assert_close(result.image, expected, rtol=0, atol=1e-12)
    assert bool((result.norm_linf > 0).all())


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("share", [0.0, 0.2])
@every_shape
def test_with_small_steps_it_comes_close_to_the_optimum_of_a_linear_network(linear_segmenter, shape, share, norm):
    # each pixel goes its own way with the slope of its logit, and goes no farther once it is there
    image = draw(shape) - 0.5
    attack = ASMA("runner_up", 1e-3, 2e-4, max_steps=500, bounds=WIDE, stop_share=share)
    result = attack(linear_segmenter(slope=10), image)
    assert bool(result.success.all())
    found = result.norm_linf if norm == "linf" else result.norm_l2
    # the pixels that need not be fooled have been pulled as long as the others
    best = linear_segmenter.optimum(image, norm, share if norm == "linf" else 0.0)
    assert bool((found <= 1.25 * best).all())
    assert bool((found >= linear_segmenter.optimum(image, norm, share)).all())


def test_the_distance_keeps_a_pixel_back_where_its_logit_rises_slowly(linear_segmenter):
    # slope − 2 δ = 0 at δ = slope / 2: a pixel that is farther from the boundary than that never gets there
    image = torch.tensor([[[[0.4, 0.6]]]], dtype=torch.float64)
    attack = ASMA("runner_up", 0.0, 0.1, max_steps=100, bounds=WIDE, stop_share=0.0)
    result = attack(linear_segmenter(slope=1), image)
    assert result.success.tolist() == [False]
    assert result.image[0, 0, 0, 1].item() == pytest.approx(0.1)
    assert attack(linear_segmenter(slope=2), image).success.tolist() == [True]


def test_an_image_stops_at_its_first_success(linear_segmenter):
    image = torch.tensor([[[[0.35]]], [[[0.05]]]], dtype=torch.float64)
    result = ASMA("runner_up", 0.0, 0.01, max_steps=50, bounds=WIDE)(linear_segmenter(slope=10), image)
    assert result.success.tolist() == [True, True]
    assert result.steps.tolist()[1] == 1
    assert result.steps.tolist()[0] == 4


def test_iou_of_prediction_and_adversarial_label():
    target = torch.tensor([[[0, 1, 1, 2]], [[0, 0, 0, 0]]])
    predicted = torch.tensor([[[0, 1, 2, 2]], [[1, 1, 0, 0]]])
    void = torch.tensor([[[False, False, False, False]], [[True, True, False, False]]])
    logits = nn.functional.one_hot(predicted, 5).movedim(-1, 1).double()
    one = torch.ones(2, 1, 1, 1, dtype=torch.float64)
    posed = Problem(one, target, target, void, ~void, None, one, one, one, torch.arange(2))
    expected = torch.tensor([(1 + 1 / 2 + 1 / 2) / 3, 1.0], dtype=torch.float64)
    torch.testing.assert_close(target_iou(logits, posed, ~void, 0.0), expected)


@pytest.mark.parametrize(
    "wrong", [{"target": "foreground"}, {"beta": -1.0}, {"beta": math.nan}, {"tau": 0.0}, {"max_steps": -1}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"foreground|must be"):
        ASMA(**wrong)
