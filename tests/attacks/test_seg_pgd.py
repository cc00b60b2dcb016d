# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from monai_shield.attacks import PGD, CosPGD, SegPGD
from monai_shield.attacks.losses import seg_pgd

WIDE = (-1000.0, 1000.0)
SHAPES = [(3, 1, 6, 5), (2, 1, 5, 4, 3)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])
both = pytest.mark.parametrize("make", [SegPGD, CosPGD])


def draw(shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Wave(nn.Module):
    """Goes up and down, and so does what is climbed on it."""

    def forward(self, image):
        return (6 * image).sin()


@every_shape
@pytest.mark.parametrize("target", [None, "runner_up"])
@both
def test_the_optimum_of_a_linear_network(linear_segmenter, make, target, shape):
    # a pixel of value v falls with a change of |v|: an image needs the largest of them
    image = draw(shape) - 0.5
    settings = {"target": target, "bounds": WIDE, "stop_share": 0.0, "max_steps": 20}
    for each in image.split(1):
        best = float(each.abs().max())
        above, below = (make(share * best, **settings)(linear_segmenter(), each) for share in (1.25, 0.99))
        assert above.success.tolist() == [True]
        assert above.norm_linf.item() <= 1.25 * best * (1 + 1e-12)
        assert below.success.tolist() == [False]


def test_under_l2_seg_pgd_spends_its_budget_where_it_counts(linear_segmenter):
    # uneven margins: cross entropy goes on pulling at the pixels that are wrong already, SegPGD lets them be
    image = draw((4, 1, 6, 6)) - 0.5
    epsilon = 0.7 * float(image.square().flatten(1).sum(1).sqrt().min())
    settings = {"norm": "l2", "bounds": WIDE, "max_steps": 40, "keep": "fewest", "random_start": False}
    plain, masked = (make(epsilon, **settings)(linear_segmenter(), image) for make in (PGD, SegPGD))
    assert bool((masked.remaining <= plain.remaining).all())


@both
def test_the_iterate_with_the_fewest_pixels_left_is_kept(make):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), Wave(), nn.Conv2d(6, 3, 3, padding=1)).double()
    image = draw((6, 1, 6, 6))
    label = network(image).argmax(1)
    shares = []

    class Recorder(nn.Module):
        def forward(self, x):
            logits = network(x)
            shares.append((logits.argmax(1) == label).double().flatten(1).mean(1))
            return logits

    # steps as long as the ball is wide, so that the share goes up and down
    result = make(0.5, step_size=1.0, max_steps=8, bounds=WIDE)(Recorder(), image, label)
    among = torch.stack(shares[1:])  # the first call sees the clean image
    torch.testing.assert_close(result.remaining, among.amin(0))
    torch.testing.assert_close((network(result.image).argmax(1) == label).double().flatten(1).mean(1), among.amin(0))
    assert bool((among[-1] > among.amin(0)).any())  # not all at the last step, or the test would show nothing


def test_seg_pgd_hears_how_far_the_attack_is(linear_segmenter):
    heard = []

    def listening(logits, problem, not_fooled, progress):
        heard.append(progress)
        return seg_pgd(logits, problem, not_fooled, progress)

    SegPGD(0.1, max_steps=4, loss=listening)(linear_segmenter(), draw(SHAPES[0]) - 0.5)
    assert heard == [0.0, 0.25, 0.5, 0.75, 1.0]  # the last one takes no step
