# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from monai_shield.attacks import DAG, PGD, UniformNoise

WIDE = (-1000.0, 1000.0)
WEIGHT = torch.tensor([[0.5, -1.0, 0.0], [-0.5, 1.0, 2.0]], dtype=torch.float64)
NORMAL = WEIGHT[1] - WEIGHT[0]  # the margin between the two classes falls along it


def linear(dims=2):
    """A 1x1 convolution of three channels into two classes."""
    network = (nn.Conv2d if dims == 2 else nn.Conv3d)(3, 2, 1).double()
    network.weight.data.copy_(WEIGHT.reshape(2, 3, *[1] * dims))
    network.bias.data.copy_(torch.tensor([0.3, -0.1]))
    return network


def draw(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def margin(network, image):
    """|z_1 - z_0| at each pixel, (B,pixels)."""
    logits = network(image)
    return (logits[:, 1] - logits[:, 0]).detach().abs().flatten(1)


def optimum(network, image, norm):
    """Norm of the smallest perturbation that changes the prediction of every pixel, per image.

    At one pixel it is margin / ‖normal‖₁ under L∞ and margin / ‖normal‖₂ under L2; pixels do not share channels, so
    under L∞ the image needs the largest of them, and under L2 their root sum of squares.
    """
    margins = margin(network, image)
    if norm == "linf":
        return margins.amax(1) / NORMAL.abs().sum()
    return margins.square().sum(1).sqrt() / NORMAL.square().sum().sqrt()


def even_image(network, *shape):
    """Images with one margin at all their pixels, so that under L2 every attack spends its budget evenly."""
    image = draw(*shape) - 0.5
    wanted = torch.linspace(0.5, 2, shape[0], dtype=torch.float64).reshape(-1, *[1] * (len(shape) - 1))
    signs = torch.where(draw(shape[0], 1, *shape[2:], seed=1) < 0.5, -1.0, 1.0)
    logits = network(image).detach()
    change = (signs * wanted - (logits[:, 1:] - logits[:, :1])) / NORMAL.square().sum()
    return image + change * NORMAL.reshape(1, 3, *[1] * (len(shape) - 2))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("target", [None, "runner_up"])
def test_at_125_percent_of_the_optimum_every_pixel_falls(norm, dims, target):
    network = linear(dims)
    image = even_image(network, 3, 3, *(5, 4, 3)[:dims])
    for i in range(3):
        best = float(optimum(network, image[i : i + 1], norm))
        # untargeted cross entropy pulls hardest on the pixels that are wrong already: under L2, from a start that is
        # not even, it spends its budget on them
        settings = {"random_start": norm == "linf" or target is not None, "bounds": WIDE, "stop_share": 0.0}
        attack = PGD(1.25 * best, norm=norm, max_steps=20, target=target, **settings)
        result = attack(network, image[i : i + 1])
        assert result.success.tolist() == [True]
        assert result.remaining.tolist() == [0]
        assert result.norm_linf.item() <= 1.25 * best + 1e-12 if norm == "linf" else True
        assert result.norm_l2.item() <= 1.25 * best + 1e-12 if norm == "l2" else True


def test_under_linf_also_with_uneven_margins():
    network, image = linear(), draw(1, 3, 6, 6) - 0.5
    best = float(optimum(network, image, "linf"))
    result = PGD(1.25 * best, max_steps=20, bounds=WIDE, stop_share=0.0)(network, image)
    assert result.success.tolist() == [True]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_at_99_percent_of_the_optimum_nothing_succeeds(norm):
    network = linear()
    image = even_image(network, 3, 3, 5, 4)
    for i in range(3):
        clean = image[i : i + 1]
        epsilon = 0.99 * float(optimum(network, clean, norm))
        settings = {"norm": norm, "bounds": WIDE, "stop_share": 0.0}
        for attack in [
            PGD(epsilon, max_steps=20, **settings),
            PGD(epsilon, max_steps=20, target="runner_up", **settings),
            UniformNoise(epsilon, **settings),
        ]:
            result = attack(network, clean)
            assert result.success.tolist() == [False]
            assert result.remaining.item() == 1 if norm == "linf" else result.remaining.item() > 0
        # DAG has no budget: it succeeds, but never below the optimum
        dag = DAG(
            "runner_up",
            step=epsilon / 50,
            norm=norm,
            max_steps=200,
            attack_background=True,
            bounds=WIDE,
            stop_share=0.0,
        )
        result = dag(network, clean)
        assert result.success.tolist() == [True]
        assert (result.norm_linf if norm == "linf" else result.norm_l2).item() > epsilon


def test_the_worst_point_of_the_ball_of_a_linear_network_is_its_corner():
    network, image = linear(), draw(2, 3, 5, 5) - 0.5
    label = network(image).argmax(1)
    away = torch.where(label == 1, -1.0, 1.0).unsqueeze(1) * NORMAL.sign().reshape(1, 3, 1, 1)
    for window in (1.0, 7.0):
        result = PGD(0.03, max_steps=10, bounds=WIDE, window=window)(network, image)
        torch.testing.assert_close(result.image, image + 0.03 * window * away, rtol=0, atol=1e-12)
        assert result.steps.tolist() == [10, 10]


def test_bounds_cut_the_ball():
    network, image = linear(), draw(2, 3, 5, 5)
    label = network(image).argmax(1)
    away = torch.where(label == 1, -1.0, 1.0).unsqueeze(1) * NORMAL.sign().reshape(1, 3, 1, 1)
    result = PGD(0.4, max_steps=10, bounds=(0, 1))(network, image)
    torch.testing.assert_close(result.image, (image + 0.4 * away).clamp(0, 1), rtol=0, atol=1e-12)


def small_network():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 3, 3, padding=1)).double()


def loss_of(network, image, label):
    return functional.cross_entropy(network(image), label, reduction="none").flatten(1).mean(1).detach()


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.5), ("l2", 8.0)])
def test_each_image_keeps_its_own_best_iterate(norm, epsilon):
    # steps as long as the ball is wide, so that the loss goes up and down
    network, image = small_network(), draw(6, 1, 6, 6)
    label = network(image).argmax(1)
    settings = {"epsilon": epsilon, "norm": norm, "step_size": 2 * epsilon, "bounds": WIDE}
    best = [loss_of(network, PGD(**settings, max_steps=n)(network, image, label).image, label) for n in range(1, 9)]
    for fewer, more in pairwise(best):
        assert bool((more >= fewer).all())  # the best of a run only rises with its length

    trajectory = []

    class Recorder(nn.Module):
        def forward(self, x):
            trajectory.append(x.detach().clone())
            return network(x)

    result = PGD(**settings, max_steps=8)(Recorder(), image, label)
    losses = torch.stack([loss_of(network, x, label) for x in trajectory[1:]])  # the first call sees the clean image
    assert len(losses) == 9  # the start, and after each of the 8 steps
    torch.testing.assert_close(loss_of(network, result.image, label), losses.amax(0), rtol=0, atol=1e-12)
    assert len(losses.argmax(0).unique()) > 1  # not all at the same step, or the test would show nothing


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_iterates_stay_in_the_ball_and_more_budget_is_never_weaker(norm):
    network, image = small_network(), draw(4, 1, 6, 6)
    label = network(image).argmax(1)
    previous = loss_of(network, image, label)
    for epsilon in (0.05, 0.2, 0.8):
        scale = 1 if norm == "linf" else 4
        result = PGD(epsilon * scale, norm=norm, bounds=WIDE)(network, image, label)
        length = result.norm_linf if norm == "linf" else result.norm_l2
        assert bool((length <= epsilon * scale * (1 + 1e-12)).all())
        noise = UniformNoise(epsilon * scale, norm=norm, bounds=WIDE)(network, image, label)
        loss = loss_of(network, result.image, label)
        assert bool((loss > previous).all())
        assert bool((loss > loss_of(network, noise.image, label)).all())
        previous = loss


def test_targeted_reaches_the_target_from_everywhere():
    network, image = linear(), draw(2, 3, 6, 6) - 0.5
    epsilon = 1.25 * float(optimum(network, image, "linf").max())
    clean = network(image).argmax(1)
    for target in (0, 1):
        attack = PGD(epsilon, bounds=WIDE, target=torch.full((2, 1, 6, 6), target), max_steps=20, stop_share=0.0)
        result = attack(network, image)
        assert bool((network(result.image).argmax(1) == target)[clean != target].all())
        assert bool(result.success.all())
        assert torch.equal(result.attacked, (clean != target).flatten(1).sum(1))
        half = PGD(epsilon / 2, bounds=WIDE, target=attack.target, max_steps=20)(network, image)
        missed = (network(half.image).argmax(1) != target) & (clean != target)
        assert torch.equal(half.remaining, missed.flatten(1).sum(1).double() / half.attacked)


def test_stop_early_stops_each_image_at_its_first_success():
    network = linear()
    image = even_image(network, 4, 3, 5, 4)
    needed = optimum(network, image, "linf")  # 1 : 2 : 3 : 4 in steps
    attack = PGD(
        float(needed.max()) * 2, step_size=0.021, max_steps=100, random_start=False, bounds=WIDE, stop_early=True
    )
    result = attack(network, image)
    assert bool(result.success.all())
    assert torch.equal(result.steps, torch.ceil(needed / 0.021).long())
    torch.testing.assert_close(result.norm_linf, 0.021 * result.steps.double())


@pytest.mark.parametrize("make", [UniformNoise, lambda *a, **k: PGD(*a, max_steps=1, step_size=1e-300, **k)])
def test_random_start_belongs_to_the_image_not_to_the_batch(make):
    network, image = linear(), draw(4, 3, 5, 5)
    settings = {"bounds": WIDE, "norm": "linf"}
    together = make(0.1, **settings)(network, image).image - image
    again = make(0.1, **settings)(network, image, index=[7, 3, 0, 1]).image - image
    other = make(0.1, **settings, seed=1)(network, image).image - image
    torch.testing.assert_close(again[2:], together[:2], rtol=0, atol=1e-12)
    torch.testing.assert_close(again[1], together[3], rtol=0, atol=1e-12)
    for first, second in [(together[0], together[1]), (together[0], again[0]), (together[0], other[0])]:
        assert (first - second).abs().max() > 0.05


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_noise_is_uniform_in_the_ball(norm):
    clean = torch.zeros(2000, 1, 2, 1, dtype=torch.float64)
    noise = UniformNoise(0.3, norm=norm, bounds=(-1, 1), window=2.0)(nn.Identity(), clean).image.flatten(1)
    radius = noise.abs().amax(1) if norm == "linf" else noise.norm(dim=1)
    assert radius.max() <= 0.6
    assert radius.max() > 0.59
    for share in (0.25, 0.5, 0.75):  # in two dimensions the share of a ball of radius r grows with r²
        assert abs((radius <= 0.6 * math.sqrt(share)).double().mean() - share) < 0.04
    assert bool((noise.mean(0).abs() < 0.03).all())


def test_a_loss_of_ones_own():
    def gap(logits, problem, not_fooled, progress):
        return (logits[:, 0] - logits[:, 1]).flatten(1).sum(1)

    network, image = linear(), draw(1, 3, 4, 4)
    result = PGD(0.1, bounds=WIDE, loss=gap)(network, image)
    torch.testing.assert_close(result.image, image - 0.1 * NORMAL.sign().reshape(1, 3, 1, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epsilon": -0.1},
        {"epsilon": math.nan},
        {"max_steps": 0},
        {"step_size": 0.0},
        {"norm": "l1"},
        {"loss": "hinge"},
        {"keep": "first"},
        {"target": "foreground"},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must be|no loss|no target"):
        PGD(**{"epsilon": 0.1, **wrong})
