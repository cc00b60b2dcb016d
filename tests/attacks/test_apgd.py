# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from monai_shield.attacks import APGD, PGD
from monai_shield.attacks.apgd import Halving, checkpoints
from monai_shield.attacks.ball import Ball
from monai_shield.attacks.problem import Problem

WIDE = (-1000.0, 1000.0)
SHAPES = [(3, 1, 6, 5), (2, 1, 5, 4, 3)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])
every_norm = pytest.mark.parametrize("norm", ["linf", "l2"])
THREE_BALLS = {"radii": (2.0, 1.5, 1.0), "shares": (0.3, 0.3, 0.4)}


def draw(shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def small_network():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 3, 3, padding=1)).double()


def test_checkpoints_of_the_paper():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(50) == [11, 21, 29, 35, 40, 44, 47]
    assert checkpoints(1) == checkpoints(0) == []
    for number in range(1, 40):
        assert all(0 < check < number for check in checkpoints(number))


def climb(slope, best_at, steps=100):
    """One pixel that climbs −slope · |x − best_at| in [−1, 1] from 0; the iterates, and the rule at the end."""
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    pixel = torch.ones(1, 1, 1, dtype=torch.bool)
    problem = Problem(0 * one, pixel.long(), None, ~pixel, pixel, None, -one, one, one, torch.arange(1))
    rule = Halving(Ball(1.0, "linf"), 2.0, checkpoints(steps))
    image, iterates = 0 * one, []
    for _ in range(steps):
        iterates.append(float(image))
        image = rule(image, slope * (best_at - image).sign(), -slope * (image - best_at).abs().flatten(), problem)
    return iterates, rule


def test_a_step_that_is_too_long_is_halved_until_it_is_not():
    iterates, rule = climb(slope=1.0, best_at=0.3)
    assert float(rule.memory["step"]) < 2 / 2**5
    assert abs(iterates[-1] - 0.3) < 0.1
    assert min(abs(x - 0.3) for x in iterates[80:]) < min(abs(x - 0.3) for x in iterates[:22])


def test_the_scale_of_the_loss_does_not_matter():
    assert climb(slope=1.0, best_at=0.3)[0] == climb(slope=1024.0, best_at=0.3)[0]


def test_the_first_steps_are_those_of_the_paper():
    # 0, all the way to the bound, back by 0.75 of the way to the other bound plus 0.25 of the move before
    iterates, _ = climb(slope=1.0, best_at=0.3)
    assert iterates[:3] == pytest.approx([0.0, 1.0, 1.0 + 0.75 * -2.0 + 0.25 * 1.0])


@every_shape
@pytest.mark.parametrize("target", [None, "runner_up"])
@pytest.mark.parametrize("balls", [{}, THREE_BALLS], ids=["one ball", "three balls"])
@pytest.mark.parametrize("loss", ["cross_entropy", "masked_cross_entropy", "jensen_shannon"])
def test_the_optimum_of_a_linear_network(linear_segmenter, loss, balls, target, shape):
    # a pixel of value v falls with a change of |v|: an image needs the largest of them
    image = draw(shape) - 0.5
    settings = {"target": target, "loss": loss, "bounds": WIDE, "stop_share": 0.0, "max_steps": 20, **balls}
    for each in image.split(1):
        best = float(each.abs().max())
        above, below = (APGD(share * best, **settings)(linear_segmenter(), each) for share in (1.25, 0.99))
        assert above.success.tolist() == [True]
        assert above.norm_linf.item() <= 1.25 * best * (1 + 1e-12)
        assert above.steps.tolist() == [20]
        assert below.success.tolist() == [False]
        assert below.norm_linf.item() <= 0.99 * best * (1 + 1e-12)


@every_shape
def test_the_optimum_under_l2(linear_segmenter, shape):
    # with uneven margins, and so by the loss that spends nothing on the pixels that are wrong already
    image = draw(shape) - 0.5
    for each in image.split(1):
        best = float(each.square().sum().sqrt())
        settings = {"norm": "l2", "bounds": WIDE, "stop_share": 0.0, "max_steps": 100, "loss": "masked_cross_entropy"}
        above, below = (APGD(share * best, **settings)(linear_segmenter(), each) for share in (1.25, 0.99))
        assert above.success.tolist() == [True]
        assert above.norm_l2.item() <= 1.25 * best * (1 + 1e-12)
        assert below.success.tolist() == [False]


@every_norm
def test_at_least_as_strong_as_pgd_by_the_loss_it_climbs(norm):
    network, image = small_network(), draw((6, 1, 6, 6))
    label = network(image).argmax(1)
    epsilon = 0.3 if norm == "linf" else 1.5
    settings = {"norm": norm, "max_steps": 100, "bounds": WIDE, "keep": "highest"}

    def loss(attack):
        logits = network(attack(network, image, label).image)
        return nn.functional.cross_entropy(logits, label, reduction="none").flatten(1).mean(1).detach()

    assert float(loss(APGD(epsilon, **settings)).mean()) >= 0.99 * float(loss(PGD(epsilon, **settings)).mean())


@every_norm
def test_only_the_last_ball_counts(norm):
    network, image = small_network(), draw((4, 1, 6, 6))
    epsilon = 0.1 if norm == "linf" else 0.5
    result = APGD(epsilon, norm=norm, max_steps=10, bounds=WIDE, **THREE_BALLS)(network, image)
    length = result.norm_linf if norm == "linf" else result.norm_l2
    assert bool((length <= epsilon * (1 + 1e-12)).all())
    assert result.steps.tolist() == [10] * 4
    still = network(result.image).argmax(1) == network(image).argmax(1)
    torch.testing.assert_close(result.remaining, still.flatten(1).double().mean(1))


def test_memory_goes_with_its_image_when_others_leave():
    network, image = small_network(), draw((6, 1, 6, 6))
    attack = APGD(0.4, step_size=0.1, max_steps=30, stop_early=True, stop_share=0.34, bounds=WIDE)
    together = attack(network, image)
    assert len(together.steps.unique()) > 2  # they leave at different steps, or the test would show nothing
    for i in range(len(image)):
        alone = attack(network, image[i : i + 1], index=[i])
        torch.testing.assert_close(alone.image, together.image[i : i + 1], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "wrong",
    [
        {"radii": ()},
        {"radii": (2.0,)},
        {"radii": (0.5, 1.0), "shares": (0.5, 0.5)},
        {"radii": (2.0, 1.0)},
        {"radii": (2.0, 1.0), "shares": (0.5, 0.4)},
        {"radii": (2.0, 1.0), "shares": (1.5, -0.5)},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"(radii|shares) must be"):
        APGD(0.1, **wrong)
