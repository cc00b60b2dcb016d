# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn

from monai_shield.attacks import DAG

WIDE = (-1000.0, 1000.0)


def linear(weight, bias):
    """A 1x1 convolution with known weights: every pixel is classified by itself and linearly."""
    weight, bias = torch.tensor(weight, dtype=torch.float64), torch.tensor(bias, dtype=torch.float64)
    network = nn.Conv2d(weight.shape[1], weight.shape[0], 1).double()
    network.weight.data.copy_(weight[:, :, None, None])
    network.bias.data.copy_(bias)
    return network


def small_network(dims, channels, classes):
    conv = nn.Conv2d if dims == 2 else nn.Conv3d
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = conv(channels, 5, 3, padding=1), nn.SiLU(), conv(5, classes, 3, padding=1)
        return nn.Sequential(*layers).double()


def draw(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("window", [1.0, 40.0])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_first_step_by_hand(norm, window):
    # z_0 = 0, z_1 = 2a - b, z_2 = b: the gradient of z_0 - z_l is (-2, 1) where l = 1 and (0, -1) where l = 2
    network = linear([[0, 0], [2, -1], [0, 1]], [0, 0, 0])
    image = torch.tensor([[[[1.0, 3.0, 0.0, -1.0]], [[0.0, 1.0, 4.0, -1.0]]]], dtype=torch.float64)
    label = network(image).argmax(1)
    assert label.tolist() == [[[1, 1, 2, 0]]]

    gradient = torch.tensor([[[[-2.0, -2.0, 0.0, 0.0]], [[1.0, 1.0, -1.0, 0.0]]]], dtype=torch.float64)
    length = 2 if norm == "linf" else math.sqrt(4 + 4 + 1 + 1 + 1)
    attack = DAG("background", step=0.01, norm=norm, max_steps=1, bounds=WIDE, window=window)
    result = attack(network, image)
    torch.testing.assert_close(result.image, image + 0.01 * window * gradient / length, rtol=0, atol=1e-12)
    assert result.steps.tolist() == [1]


def test_first_step_leaves_out_what_is_already_lost_or_not_attacked():
    network = linear([[0], [1]], [0, 0])  # class 1 where the image is positive
    image = torch.tensor([[[[1.0, 2.0, 3.0, -1.0, -2.0, 4.0]]]], dtype=torch.float64)
    label = torch.tensor([[[[1, 1, 1, 1, 0, 255]]]])  # the fourth is wrong from the start, the last is void
    mask = torch.tensor([[[[1, 1, 0, 1, 1, 1]]]])
    result = DAG(step=0.1, max_steps=1, bounds=WIDE, ignore_index=255)(network, image, label, mask)
    torch.testing.assert_close(result.image - image, torch.tensor([[[[-0.1, -0.1, 0, 0, 0, 0]]]]).double())
    assert result.attacked.tolist() == [3]  # the one that is wrong from the start counts, and as lost
    torch.testing.assert_close(result.remaining, torch.tensor([2 / 3]).double())


@pytest.mark.parametrize("dims", [2, 3])
def test_linear_network_takes_the_steps_that_the_margin_needs(dims):
    # every pixel moves by one step at a time until it crosses 0, so it needs floor(x / step) + 1 steps
    step, spatial = 0.05, (4, 4, 3)[:dims]
    network = linear([[0], [1]], [0, 0])
    network = network if dims == 2 else nn.Sequential(nn.Flatten(2, 3), network, nn.Unflatten(2, spatial[:2]))
    image = draw(3, 1, *spatial) + 0.01
    needed = torch.floor(image / step) + 1
    attack = DAG(step=step, max_steps=100, bounds=WIDE, stop_share=0.0)
    result = attack(network, image)
    assert bool(result.success.all())
    torch.testing.assert_close(result.image, image - step * needed)
    assert torch.equal(result.steps, needed.flatten(1).amax(1).long())
    optimum = image.flatten(1).amax(1)  # the smallest perturbation, under L∞, that changes every pixel
    assert bool((result.norm_linf >= optimum).all())
    assert bool((result.norm_linf <= optimum + step).all())


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("shape", [(3, 1, 6, 5), (1, 1, 7, 4), (2, 1, 5, 4, 3)], ids=["2d", "one", "3d"])
def test_with_small_steps_it_comes_close_to_the_optimum_and_never_below(linear_segmenter, shape, norm):
    image = draw(*shape) - 0.5
    settings = {"attack_background": True, "max_steps": 600, "bounds": WIDE, "stop_share": 0.0}
    result = DAG("runner_up", step=0.01 if norm == "linf" else 0.02, norm=norm, **settings)(linear_segmenter(), image)
    found = result.norm_linf if norm == "linf" else result.norm_l2
    best = linear_segmenter.optimum(image, norm)
    assert bool(result.success.all())
    assert bool((found <= 1.25 * best).all())
    assert bool((found >= best).all())


def test_it_stops_at_the_share_of_the_attacked_pixels_and_of_them_only():
    # 100 attacked pixels with margins of 1 to 100 steps among 1900 of background, which would hide the share
    network = linear([[0], [1]], [0, 0])
    image = torch.full((1, 1, 20, 100), -5.0, dtype=torch.float64)
    image[0, 0, 0] = 0.1 * torch.arange(1, 101, dtype=torch.float64) - 0.05
    for share, steps in [(0.0, 100), (0.01, 99), (0.25, 75), (0.5, 50)]:
        result = DAG(step=0.1, max_steps=200, stop_share=share, bounds=WIDE)(network, image)
        assert result.attacked.tolist() == [100]
        assert result.steps.tolist() == [steps]
        assert result.remaining.tolist() == [share]
        assert result.success.tolist() == [True]


def test_failure_returns_the_last_iterate():
    network, image = linear([[0], [1]], [0, 0]), torch.tensor([[[[0.15, 1.0]]], [[[0.05, 0.05]]]]).double()
    result = DAG(step=0.1, max_steps=4, bounds=WIDE)(network, image)
    assert result.success.tolist() == [False, True]
    assert result.steps.tolist() == [4, 1]
    expected = torch.tensor([[[[-0.05, 0.6]]], [[[-0.05, -0.05]]]]).double()
    torch.testing.assert_close(result.image, expected)


def test_an_image_that_needs_no_step_is_returned_unchanged():
    network, image = linear([[0], [1]], [0, 0]), -draw(2, 1, 3, 3)
    image[1] *= -1
    label = torch.ones(2, 1, 3, 3)  # wrong everywhere on the first image
    result = DAG(step=0.1, bounds=WIDE)(network, image, label)
    assert result.steps.tolist()[0] == 0
    assert result.success.tolist() == [True, True]
    assert result.attacked.tolist() == [9, 9]
    assert torch.equal(result.image[0], image[0])
    assert result.norm_linf[1] > 0


def test_zero_steps_is_the_clean_image():
    network, image = linear([[0], [1]], [0, 0]), draw(1, 1, 3, 3) + 1
    result = DAG(max_steps=0)(network, image)
    assert torch.equal(result.image, image)
    assert result.success.tolist() == [False]
    assert result.remaining.tolist() == [1]


def test_dilation_reaches_the_background_only_when_it_may():
    network = linear([[0], [1]], [0, 0])
    image = torch.full((1, 1, 9, 9), -0.5, dtype=torch.float64)
    image[0, 0, 4, 4] = 0.5
    kept = DAG("dilate", step=0.1, bounds=WIDE)(network, image)
    grown = DAG("dilate", step=0.1, bounds=WIDE, attack_background=True)(network, image)
    assert kept.attacked.tolist() == [0]
    assert torch.equal(kept.image, image)
    assert grown.attacked.tolist() == [80]
    assert bool((network(grown.image).argmax(1) == 1).all())


def naive_dag(network, image, label, target, mask, *, step, order, steps, low, high):
    """One image, in numpy where it can be, the whole graph of autograd, written from the paper's algorithm 1."""
    iterate = image.numpy().copy()
    for _ in range(steps):
        x = torch.tensor(iterate[None], requires_grad=True)
        logits = network(x)[0]
        predicted = logits.argmax(0).numpy()
        total = torch.zeros((), dtype=torch.float64)
        for t in np.ndindex(*label.shape):
            there = mask[t] and label[t] != 0 and label[t] != target[t]
            if there and predicted[t] == label[t]:
                total = total + logits[(int(target[t]), *t)] - logits[(int(label[t]), *t)]
        if not total.requires_grad:
            break
        total.backward()
        r = x.grad.numpy()[0]
        iterate = np.clip(iterate + step * r / np.linalg.norm(r.ravel(), order), low, high)
    return iterate


@pytest.mark.parametrize("target", ["background", "runner_up"])
@pytest.mark.parametrize(("norm", "order", "step"), [("linf", np.inf, 0.02), ("l2", 2, 0.3)])
@pytest.mark.parametrize("dims", [2, 3])
def test_agrees_with_a_naive_loop_over_images(dims, norm, order, step, target):
    network = small_network(dims, 2, 4)
    image = draw(3, 2, *(5, 4, 3)[:dims]) * 4 - 2
    with torch.no_grad():
        logits = network(image)
    label = logits.argmax(1)
    mask = draw(3, 1, *image.shape[2:], seed=5) < 0.8
    wanted = torch.zeros_like(label) if target == "background" else logits.topk(2, dim=1).indices[:, 1]
    attack = DAG(target, step=step, norm=norm, max_steps=10, stop_share=0.0)
    result = attack(network, image, label, mask)
    for i in range(3):
        expected = naive_dag(
            *(network, image[i], label[i].numpy(), wanted[i].numpy(), mask[i, 0].numpy()),
            **{"step": step, "order": order, "steps": 10, "low": float(image[i].min()), "high": float(image[i].max())},
        )
        np.testing.assert_allclose(result.image[i].numpy(), expected, rtol=0, atol=1e-9)
    assert bool((result.norm_l2 > step / 2).all())


def test_published_settings():
    xie, park = DAG.xie(), DAG.park("exchange", max_steps=5)
    assert (xie.target, xie.step, xie.norm, xie.max_steps, xie.stop_share) == (
        "background",
        0.5 / 255,
        "linf",
        200,
        0.01,
    )
    assert (park.target, park.step, park.norm, park.max_steps) == ("exchange", 0.5, "l2", 5)
    assert DAG.park().max_steps == 20
    assert not xie.attack_background
    assert not park.attack_background
    parsed = ConfigParser({"attack": {"_target_": "monai_shield.attacks.DAG.park", "target": "dilate"}})
    attack = parsed.get_parsed_content("attack")
    assert isinstance(attack, DAG)
    assert (attack.target, attack.norm, attack.step) == ("dilate", "l2", 0.5)


@pytest.mark.parametrize("wrong", [{"target": "foreground"}, {"step": 0.0}, {"max_steps": -1}, {"norm": "l1"}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"foreground|must be"):
        DAG(**wrong)
