# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from torch import nn

from monai_shield.attacks import Criterion, Square, StructureDice
from monai_shield.attacks.problem import Problem
from monai_shield.attacks.square import margin, square_side

WIDE = (-1000.0, 1000.0)
SHAPES = [(2, 1, 5, 5), (2, 1, 3, 3, 3)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])


def draw(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def small_network(channels=1, dims=2):
    conv = nn.Conv2d if dims == 2 else nn.Conv3d
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = conv(channels, 6, 3, padding=1), nn.Tanh(), conv(6, 3, 3, padding=1)
        return nn.Sequential(*layers).double()


class Linear(nn.Module):
    """Class 1 where the pixel is positive."""

    def forward(self, image):
        return torch.cat([-image, image], 1)


class OneHot(nn.Module):
    """Nothing but the predicted class, and a gradient that must not be asked for."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        logits = self.network(image)
        answer = nn.functional.one_hot(logits.argmax(1), logits.shape[1]).movedim(-1, 1).to(image)
        return NoGradient.apply(answer + 0 * logits.sum())


class NoGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("somebody asked for a gradient")


class Recorded(nn.Module):
    """Keeps all it is asked."""

    def __init__(self, network):
        super().__init__()
        self.network, self.images = network, []

    def forward(self, image):
        self.images.append(image.detach().clone())
        return self.network(image)


@every_shape
@pytest.mark.parametrize("network", [Linear(), OneHot(Linear())], ids=["logits", "one-hot"])
def test_the_optimum_of_a_linear_network(network, shape):
    # a pixel of value v falls with a change of |v|: an image needs the largest of them
    image = draw(shape) - 0.5
    settings = {"bounds": WIDE, "stop_share": 0.0, "max_steps": 120}
    for each in image.split(1):
        best = float(each.abs().max())
        above, below = (Square(share * best, **settings)(network, each) for share in (1.25, 0.99))
        assert above.success.tolist() == [True]
        assert above.norm_linf.item() <= 1.25 * best * (1 + 1e-12)
        assert above.steps.item() < 120
        assert below.success.tolist() == [False]
        assert below.norm_linf.item() <= 0.99 * best * (1 + 1e-12)
        assert below.steps.tolist() == [120]
        # of the pixels that the ball reaches none is left
        assert round(below.remaining.item() * each.numel()) == int((each.abs() >= 0.99 * best).sum())


def loss_of(network, image, label):
    """Minus the mean over the pixels of z_label - z_k, with k the nearest other class, where that is positive."""
    logits = network(image).detach()
    gaps = logits.gather(1, label.unsqueeze(1)) - logits
    gaps[nn.functional.one_hot(label, logits.shape[1]).movedim(-1, 1).bool()] = math.inf
    return -gaps.amin(1).clamp(min=0).flatten(1).mean(1)


def test_the_loss_never_falls():
    # what a search of n queries keeps is the best of the n images it asked, each one inside the ball
    network, image = small_network(2), draw((3, 2, 7, 6))
    label = network(image).argmax(1)
    before = torch.full((3,), -math.inf, dtype=torch.float64)
    for queries in (1, 2, 5, 20, 60):
        recorded = Recorded(network)
        attack = Square(0.3, max_steps=queries, schedule=60, bounds=WIDE, stop_share=0.0)
        result = attack(recorded, image, label)
        asked = recorded.images[1:]  # the first is the clean one
        assert len(asked) == queries
        assert result.steps.tolist() == [queries] * 3
        for each in asked:
            change = (each - image).flatten(1)
            assert bool((change.abs() <= 0.3 * (1 + 1e-12)).all())
        now = loss_of(network, result.image, label)
        torch.testing.assert_close(now, torch.stack([loss_of(network, each, label) for each in asked]).amax(0))
        assert bool((now >= before).all())
        before = now


def test_more_queries_go_on_where_fewer_end():
    network, image = small_network(), draw((3, 1, 7, 6))
    short, long = Recorded(network), Recorded(network)
    for recorded, queries in ((short, 15), (long, 40)):
        Square(0.3, max_steps=queries, schedule=40, bounds=WIDE, stop_share=0.0)(recorded, image)
    assert len(long.images) == 41
    assert all(torch.equal(one, other) for one, other in zip(short.images, long.images))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_network_without_a_gradient(dims):
    shape = (2, 1, 6, 5) if dims == 2 else (2, 1, 5, 4, 3)
    network, image = OneHot(small_network(dims=dims)), draw(shape)
    with pytest.raises(RuntimeError, match="somebody asked"):
        network(image.clone().requires_grad_()).sum().backward()
    settings = {"bounds": WIDE, "stop_share": 0.0}
    start, end = (Square(0.5, max_steps=n, schedule=100, **settings)(network, image) for n in (1, 100))
    assert bool((end.remaining < start.remaining).all())


def test_the_corners_of_the_ball():
    # every pixel is at one end of what ball and bounds leave it, in squares of one sign a channel
    network, image = small_network(2), draw((3, 2, 7, 6))
    recorded = Recorded(network)
    Square(0.3, max_steps=30, bounds=(0, 1), stop_share=0.0)(recorded, image)
    low, high = (image - 0.3).clamp(min=0), (image + 0.3).clamp(max=1)
    clean, start, *proposals = recorded.images
    assert torch.equal(clean, image)
    for each in (start, *proposals):
        assert bool((torch.isclose(each, low) | torch.isclose(each, high)).all())
    upper = torch.isclose(start, high)
    assert torch.equal(upper, upper[:, :, :1].expand_as(upper))  # lines along the first axis
    assert len({tuple(line) for line in upper[:, :, 0].flatten(0, 1).tolist()}) > 1


@pytest.mark.parametrize("shape", [(1, 2, 9, 9), (1, 1, 6, 5, 4)], ids=["2d", "3d"])
def test_a_square_covers_the_pixel_that_is_not_yet_fooled_and_changes_it(shape):
    # one pixel is attacked that will never fall: once it is as low as it goes, every proposal must change it
    place = (0, slice(None), *(2 for _ in shape[2:]))
    image, mask = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape[0], 1, *shape[2:])
    image[place], mask[place] = 50, 1
    attack = {"epsilon": 0.3, "schedule": 10**9, "p": 0.2, "bounds": WIDE}
    network = Recorded(SumOverChannels())
    Square(**attack, max_steps=60)(network, image, mask=mask)
    best = Square(**attack, max_steps=30)(network.network, image, mask=mask).image
    torch.testing.assert_close(best[place], image[place] - 0.3)
    side = square_side(0.2, shape[2:], 0)
    corners = set()
    for proposal in network.images[31:]:
        changed = (proposal != best)[0].any(0).nonzero()
        assert bool((proposal[place] != best[place]).any())
        extent = changed.amax(0) - changed.amin(0) + 1
        assert bool((extent <= side).all())
        corners.add(tuple(changed.amin(0).tolist()))
    assert len(corners) > 3


class SumOverChannels(nn.Module):
    """Class 1 where the sum of the channels is positive."""

    def forward(self, image):
        total = image.sum(1, keepdim=True)
        return torch.cat([-total, total], 1)


def test_side_of_a_square():
    sides = [square_side(0.8, (100, 100), progress) for progress in (0, 1e-3, 1.1e-3, 6e-3, 0.03, 0.06, 0.11, 0.3)]
    assert sides == [89, 89, 63, 45, 32, 22, 16, 11]
    assert [square_side(0.8, (100, 100), progress) for progress in (0.5, 0.7, 0.9, 1.0, 3.0)] == [8, 6, 4, 4, 4]
    assert square_side(1.0, (10, 10, 10), 0) == 10
    assert square_side(0.125, (10, 10, 10), 0) == 5
    assert square_side(0.05, (4, 4), 0.9) == 1


def test_margin():
    logits = torch.tensor([[3.0, 1.0, 0.0, 2.0], [1.0, 2.0, 0.5, 2.0], [2.5, 0.0, 0.0, -9.0]]).reshape(1, 3, 4, 1)
    label = torch.tensor([0, 0, 1, 1]).reshape(1, 4, 1)
    one = torch.ones(1, 1, 1, 1)
    attacked = torch.tensor([True, True, True, False]).reshape(1, 4, 1)
    problem = Problem(0 * one, label, None, ~attacked, attacked, None, -one, one, one, torch.arange(1))
    not_fooled = attacked & (logits.argmax(1) == label)
    assert margin(logits, problem, not_fooled).tolist() == pytest.approx([(0.5 + 0.5) / 3])
    answers = nn.functional.one_hot(logits.argmax(1), 3).movedim(-1, 1).float()
    assert margin(answers, problem, not_fooled).tolist() == pytest.approx([2 / 3])


def test_it_ends_as_soon_as_the_criterion_is_met():
    network, image = small_network(), draw((4, 1, 7, 6))
    settings = {"bounds": WIDE, "schedule": 200, "criterion": StructureDice(0.7)}
    result = Square(0.3, max_steps=200, **settings)(network, image)
    assert result.success.all()
    assert len(result.steps.unique()) > 1
    for i, steps in enumerate(result.steps.tolist()):
        if steps > 1:
            fewer = Square(0.3, max_steps=steps - 1, **settings)(network, image[i : i + 1], index=[i])
            assert fewer.success.tolist() == [False]


def test_a_criterion_that_wants_more_than_every_pixel():
    # where all pixels are fooled the search goes on around the attacked ones, and is not stronger for it
    class Never(Criterion):
        def __call__(self, prediction, not_fooled, problem):
            return torch.zeros(len(prediction), dtype=torch.bool)

    image = draw((2, 1, 3, 3)) - 0.5
    result = Square(1.0, max_steps=100, bounds=WIDE, criterion=Never())(Linear(), image)
    assert result.steps.tolist() == [100] * 2
    assert result.remaining.tolist() == [0] * 2
    assert result.success.tolist() == [False] * 2


def test_confined_to_the_mask():
    network, image = small_network(), draw((2, 1, 8, 8))
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, 2:4, 3:6] = 1
    settings = {"bounds": WIDE, "stop_share": 0.0, "confine_to_mask": True, "max_steps": 20}
    result = Square(0.01, **settings)(network, image, mask=mask)
    assert bool(((result.image != image) == mask.bool()).all())
    torch.testing.assert_close((result.image - image).abs(), 0.01 * mask.double())


@pytest.mark.parametrize("wrong", [{"epsilon": -0.1}, {"max_steps": 0}, {"schedule": 0}, {"p": 0.0}, {"p": 1.5}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"(epsilon|max_steps|schedule|p) must"):
        Square(**{"epsilon": 0.1, **wrong})
