# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from torch import nn

from monai_shield.attacks import ALMAProx, RemainingShare, StructureDice
from monai_shield.attacks.alma_prox import constraints, penalty_slope, shrink_linf
from monai_shield.attacks.problem import Problem

WIDE = (-9.0, 9.0)
SHAPES = [(3, 1, 6, 5), (1, 1, 7, 4), (2, 1, 5, 4, 3)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=["2d", "one", "3d"])
every_target = pytest.mark.parametrize("target", [None, "runner_up"])


def draw(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def small_network(dims=2, classes=4):
    conv = nn.Conv2d if dims == 2 else nn.Conv3d
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(conv(1, 6, 3, padding=1), nn.Tanh(), conv(6, classes, 3, padding=1)).double()


def pose(shape, target=None):
    """A problem in which every pixel of label 0 is attacked."""
    one = torch.ones(shape[0], 1, *[1] * (len(shape) - 2), dtype=torch.float64)
    label = torch.zeros(shape[0], *shape[2:], dtype=torch.long)
    attacked = torch.ones_like(label, dtype=torch.bool)
    aim = None if target is None else torch.full_like(label, target)
    return Problem(draw(shape), label, aim, ~attacked, attacked, None, -one, one, one, torch.arange(shape[0]))


class Recorder(nn.Module):
    """Keeps every image the network was given."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.seen = []

    def forward(self, image):
        self.seen.append(image.detach().clone())
        return self.network(image)


@pytest.mark.parametrize("share", [0.0, 0.2])
@every_target
@every_shape
def test_the_optimum_of_a_linear_network(linear_segmenter, shape, target, share):
    image = draw(shape) - 0.5
    attack = ALMAProx(max_steps=100, step=0.01, target=target, bounds=WIDE, stop_share=share)
    result = attack(linear_segmenter(), image)
    ratio = result.norm_linf / linear_segmenter.optimum(image, share=share)
    assert bool(result.success.all())
    assert bool((ratio >= 1).all())
    assert bool((ratio <= 1.05).all())  # 1.25 is asked for


def test_it_comes_closer_to_the_optimum_than_its_steps_are_long(linear_segmenter):
    image = draw((2, 1, 6, 5)) - 0.5
    result = ALMAProx(max_steps=200, step=0.02, last_step=0.01, bounds=WIDE, stop_share=0.0)(linear_segmenter(), image)
    assert bool((result.norm_linf - linear_segmenter.optimum(image) < 0.02 / 4).all())


def test_the_scale_of_the_logits_does_not_matter(linear_segmenter):
    image = draw((2, 1, 6, 5)) - 0.5
    for make in (lambda scale: linear_segmenter(slope=scale), lambda scale: Scaled(small_network(), scale)):
        one, many = (ALMAProx(max_steps=20, step=0.01, bounds=WIDE)(make(scale), image) for scale in (1.0, 1000.0))
        torch.testing.assert_close(one.image, many.image, rtol=0, atol=1e-3)


class Scaled(nn.Module):
    """A network with its logits times a number."""

    def __init__(self, network, scale):
        super().__init__()
        self.network, self.scale = network, scale

    def forward(self, image):
        return self.scale * self.network(image)


@every_target
@pytest.mark.parametrize("criterion", [RemainingShare(0.6), StructureDice(0.4)])
def test_of_all_iterates_that_meet_the_criterion_it_keeps_the_smallest(criterion, target):
    image = draw((1, 1, 8, 8))
    network = Recorder(small_network())
    result = ALMAProx(max_steps=60, step=0.05, target=target, bounds=WIDE, criterion=criterion)(network, image)
    sizes, label = [], network.network(image).argmax(1)
    aim = network.network(image).topk(2, dim=1).indices[:, 1]
    posed = Problem(*(image, label, None, label < 0, label >= 0, None, image, image, image, torch.arange(1)))
    for iterate in network.seen:
        prediction = network.network(iterate).argmax(1)
        not_fooled = prediction == label if target is None else prediction != aim
        if bool(criterion(prediction, not_fooled, posed)):
            sizes.append(float((iterate - image).abs().max()))
    assert len(sizes) > 3
    assert result.success.tolist() == [True]
    assert result.norm_linf.item() == min(sizes) < max(sizes)


def test_without_success_the_iterate_with_the_fewest_pixels_left_is_kept():
    image = draw((1, 1, 8, 8))
    network = Recorder(small_network())
    result = ALMAProx(max_steps=30, step=0.02, stop_share=0.0)(network, image)
    label = network.network(image).argmax(1)
    left = [float((network.network(each).argmax(1) == label).double().mean()) for each in network.seen]
    assert result.success.tolist() == [False]
    assert result.remaining.item() == min(left) < 1
    assert result.norm_linf.item() > 0


def test_where_nothing_gives_way_it_is_still_not_the_clean_image(linear_segmenter):
    image = draw((2, 1, 4, 4)) / 4 + 0.5
    result = ALMAProx(max_steps=10, step=0.01, bounds=(0.4, 1.0))(linear_segmenter(), image)
    assert result.remaining.tolist() == [1, 1]
    assert bool((result.norm_linf > 0).all())


def test_an_image_that_needs_no_step_is_returned_unchanged_and_costs_the_others_nothing(linear_segmenter):
    image = draw((2, 1, 5, 4)) + 0.1
    label = torch.ones(2, 5, 4)
    label[0] = 0  # wrong everywhere on the first image
    attack = ALMAProx(max_steps=60, step=0.05, bounds=WIDE)
    result, alone = attack(linear_segmenter(), image, label), attack(linear_segmenter(), image[1:], label[1:])
    assert result.steps.tolist() == [0, 60]
    assert result.success.tolist() == [True, True]
    assert torch.equal(result.image[0], image[0])
    assert torch.equal(result.image[1:], alone.image)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("shape", [(2, 1, 4, 3), (2, 2, 3, 2, 2)], ids=["2d", "3d"])
def test_no_point_is_better_than_the_proximal_point(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    point, metric, low, high = (torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(4))
    point, metric, low, high = 2 * point - 1, metric + 1e-3, -low, high
    weight = torch.tensor([0.05, 1.0], dtype=torch.float64).reshape(2, *[1] * (len(shape) - 1))

    def cost(p):
        square = (metric * (p - point).square()).flatten(1).sum(1) / 2
        return weight.flatten() * p.flatten(1).abs().amax(1) + square

    best = shrink_linf(point, weight, metric, low, high)
    assert bool(((best >= low) & (best <= high)).all())
    # among those that clamp at some height lies the proximal point
    for height in torch.linspace(0, 1, 500, dtype=torch.float64):
        assert bool((cost(best) <= cost(point.clamp(low, high).clamp(-height, height)) + 1e-12).all())
    for _ in range(50):  # and no other point is better
        moved = best + 0.01 * torch.randn(shape, generator=generator, dtype=torch.float64)
        assert bool((cost(best) <= cost(moved.clamp(low, high)) + 1e-12).all())


def test_the_proximal_point_in_one_dimension_is_soft_thresholding():
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    for value, weight, metric in [(0.7, 0.2, 1.0), (-0.7, 0.2, 4.0), (0.7, 0.9, 1.0)]:
        found = shrink_linf(value * one, weight * one, metric * one, -one, one)
        assert float(found) == pytest.approx(math.copysign(max(abs(value) - weight / metric, 0), value))


@pytest.mark.parametrize("penalty", [0.01, 1.0, 8.0])
def test_the_slope_of_the_penalty(penalty):
    violation = torch.linspace(-3, 3, 61, dtype=torch.float64).requires_grad_()
    multiplier, rho = torch.tensor(0.3, dtype=torch.float64), torch.tensor(penalty, dtype=torch.float64)
    above = multiplier * violation + multiplier * rho * violation**2 + rho**2 * violation**3 / 6
    below = multiplier * violation / (1 - max(penalty, 1) * violation.clamp(max=0))
    (slope,) = torch.autograd.grad(torch.where(violation >= 0, above, below).sum(), violation)
    found = penalty_slope(violation.detach(), rho, multiplier)
    torch.testing.assert_close(found, slope)
    assert bool((found.diff() > 0).all())  # convex
    assert float(penalty_slope(0 * multiplier, rho, multiplier)) == float(multiplier)  # what holds it where it is


@pytest.mark.parametrize("classes", [2, 3, 4, 6])
@pytest.mark.parametrize("target", [None, 1])
def test_a_constraint_is_met_where_the_pixel_has_given_way(classes, target):
    problem = pose((2, 1, 9, 8), target)
    logits = 2 * draw((2, classes, 9, 8), seed=1) - 1
    margin, prediction = constraints(logits, problem), logits.argmax(1)
    given_way = prediction != 0 if target is None else prediction == target
    assert torch.equal(margin < 0, given_way)
    assert bool(given_way.any())
    assert not given_way.all()
    if classes > 2:
        torch.testing.assert_close(constraints(100 * logits + 5, problem), margin, rtol=1e-5, atol=1e-6)
    if classes > 2 and target is None:
        assert float(margin.max()) <= 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"target": "foreground"},
        {"step": 0.0},
        {"step": math.nan},
        {"max_steps": 0},
        {"last_step": 0.0},
        {"last_step": 1.5},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"foreground|must be"):
        ALMAProx(**wrong)
