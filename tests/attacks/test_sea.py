# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from monai_shield.attacks import APGD, SEA
from monai_shield.attacks.losses import LOSSES

WIDE = (-1000.0, 1000.0)
SHAPES = [(3, 1, 6, 5), (2, 1, 5, 4, 3)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])
THREE_BALLS = {"radii": (2.0, 1.5, 1.0), "shares": (0.3, 0.3, 0.4)}


def draw(shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def network_for(shape):
    conv = nn.Conv2d if len(shape) == 4 else nn.Conv3d
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(conv(1, 6, 3, padding=1), nn.Tanh(), conv(6, 3, 3, padding=1)).double()


def test_as_published():
    attack = SEA(8 / 255)
    assert attack.max_steps == 300
    assert [share * attack.max_steps for share in attack.shares] == [90, 90, 120]
    assert list(attack.radii) == [2, 1.5, 1]
    assert list(attack.losses) == ["masked_cross_entropy", "seg_pgd", "jensen_shannon", "masked_norm_correlation"]


@every_shape
def test_worst_case_of_its_parts_per_image(shape):
    network, image = network_for(shape), draw((6, *shape[1:]))
    ensemble = SEA(0.15, max_steps=10, bounds=WIDE)
    whole = ensemble(network, image)
    parts = [
        APGD(0.15, max_steps=10, bounds=WIDE, loss=loss, **THREE_BALLS)(network, image) for loss in ensemble.losses
    ]
    left = torch.stack([part.remaining for part in parts])
    assert torch.equal(whole.remaining, left.amin(0))
    for i, first in enumerate(left.argmin(0).tolist()):
        assert torch.equal(whole.image[i], parts[first].image[i])
    assert torch.equal(whole.steps, sum(part.steps for part in parts))
    assert not torch.equal(left.amin(0), left[0])  # the parts differ, or the test would show nothing


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_of_one_loss_is_one_apgd(name):
    network, image = network_for(SHAPES[0]), draw(SHAPES[0])
    one = SEA(0.1, max_steps=8, losses=[name])(network, image)
    other = APGD(0.1, max_steps=8, loss=name, **THREE_BALLS)(network, image)
    assert torch.equal(one.image, other.image)
    assert torch.equal(one.remaining, other.remaining)


def test_with_stop_early_an_image_sits_out_what_it_does_not_need():
    network, image = network_for(SHAPES[0]), draw((8, 1, 6, 5))
    settings = {"epsilon": 0.15, "max_steps": 20, "bounds": WIDE, "stop_share": 0.5}
    long, short = SEA(**settings)(network, image), SEA(**settings, stop_early=True)(network, image)
    assert torch.equal(long.success, short.success)
    assert bool((short.steps[short.success] < long.steps[short.success]).all())
    assert torch.equal(short.steps[~short.success], long.steps[~short.success])
    assert bool(short.success.any())
    assert not short.success.all()


@every_shape
@pytest.mark.parametrize("target", [None, "runner_up"])
def test_the_optimum_of_a_linear_network(linear_segmenter, target, shape):
    # a pixel of value v falls with a change of |v|: an image needs the largest of them
    image = draw(shape) - 0.5
    settings = {"target": target, "bounds": WIDE, "stop_share": 0.0, "max_steps": 20}
    for each in image.split(1):
        best = float(each.abs().max())
        above, below = (SEA(share * best, **settings)(linear_segmenter(), each) for share in (1.25, 0.99))
        assert above.success.tolist() == [True]
        assert above.norm_linf.item() <= 1.25 * best * (1 + 1e-12)
        assert below.success.tolist() == [False]
        assert below.norm_linf.item() <= 0.99 * best * (1 + 1e-12)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="losses must"):
        SEA(0.1, losses=())
    with pytest.raises(ValueError, match="no loss"):
        SEA(0.1, losses=("hinge",))
    with pytest.raises(TypeError, match="loss"):
        SEA(0.1, loss="cross_entropy")
