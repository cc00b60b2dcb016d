# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from monai_shield.attacks import BIM, SMIA

WIDE = (-9.0, 9.0)
SHAPES = [(3, 1, 7, 6), (2, 1, 5, 4, 6)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])
every_target = pytest.mark.parametrize("target", [None, "runner_up"])


def draw(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network_for(shape):
    conv = nn.Conv2d if len(shape) == 4 else nn.Conv3d
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(conv(1, 6, 3, padding=1), nn.Tanh(), conv(6, 3, 3, padding=1)).double()


@every_shape
@every_target
def test_the_first_step_is_that_of_bim_and_the_next_ones_are_not(target, shape):
    network, image = network_for(shape), draw(shape)
    settings = {"step_size": 0.02, "target": target, "bounds": WIDE, "norm": "l2"}
    for steps in (1, 2):
        ours, plain = (make(2.0, max_steps=steps, **settings)(network, image).image for make in (SMIA, BIM))
        assert torch.allclose(ours, plain, rtol=0, atol=1e-9) == (steps == 1)


@every_shape
def test_without_its_second_term_it_is_bim(shape):
    network, image = network_for(shape), draw(shape)
    ours = SMIA(0.1, max_steps=6, stabilization=0.0, bounds=WIDE)(network, image)
    assert torch.equal(ours.image, BIM(0.1, max_steps=6, bounds=WIDE)(network, image).image)


@every_shape
@pytest.mark.parametrize("stabilization", [0.5, 5.0])
def test_steps_by_the_formula(stabilization, shape):
    network, clean = network_for(shape), draw(shape)
    label = network(clean).argmax(1)
    sigma, step, expected = 0.8, 0.3, clean
    pixels = label[0].numel()
    for _ in range(4):
        x = expected.clone().requires_grad_()
        deviation = nn.functional.cross_entropy(network(x), label, reduction="sum") / pixels
        smoothed = torch.stack(
            [
                torch.from_numpy(gaussian_filter(each[0].numpy(), sigma, mode="constant", truncate=6))[None]
                for each in expected - clean
            ]
        )
        anchor = network(clean + smoothed).detach().softmax(1)
        now = network(x).softmax(1)
        divergence = (anchor * (anchor / now).log()).sum() / pixels
        # under L2 the step is along the gradient, so that the whole of it is tested
        (gradient,) = torch.autograd.grad(deviation - stabilization * divergence, x)
        length = gradient.flatten(1).norm(dim=1).reshape(-1, *[1] * (len(shape) - 1))
        expected = expected + step * gradient / length
    settings = {"norm": "l2", "step_size": step, "max_steps": 4, "bounds": WIDE}
    result = SMIA(9.0, stabilization=stabilization, sigma=sigma, **settings)(network, clean, label)
    # the two Gaussians are sampled and cut off in different ways
    torch.testing.assert_close(result.image, expected, rtol=0, atol=0.02)
    torch.testing.assert_close(result.norm_l2, (expected - clean).flatten(1).norm(dim=1), rtol=0, atol=0.02)
    plain = BIM(9.0, **settings)(network, clean, label).image
    assert float((result.image - plain).abs().max()) > 3 * float((result.image - expected).abs().max())


@every_shape
@every_target
@pytest.mark.parametrize("stabilization", [0.5, 1.0])
def test_the_optimum_of_a_linear_network(linear_segmenter, stabilization, target, shape):
    image = draw(shape) - 0.5
    settings = {"stabilization": stabilization, "target": target, "bounds": WIDE, "stop_share": 0.0}
    for each in image.split(1):
        best = float(linear_segmenter.optimum(each))
        above, below = (SMIA(share * best, **settings)(linear_segmenter(), each) for share in (1.25, 0.99))
        assert above.success.tolist() == [True]
        assert above.norm_linf.item() <= 1.25 * best * (1 + 1e-12)
        assert below.success.tolist() == [False]
        assert below.norm_linf.item() <= 0.99 * best * (1 + 1e-12)


def test_the_prediction_is_closer_to_that_of_the_smoothed_perturbation():
    shape = (6, 1, 12, 12)
    network, image = network_for(shape), draw(shape)
    label = network(image).argmax(1)

    def instability(result):
        change = (result.image - image).squeeze(1).numpy()
        smoothed = torch.stack([torch.from_numpy(gaussian_filter(each, 1.0, mode="constant")) for each in change])
        anchor = network(image + smoothed.unsqueeze(1)).softmax(1)
        return float((anchor * (anchor / network(result.image).softmax(1)).log()).sum().detach())

    settings = {"max_steps": 20, "bounds": WIDE}
    plain = BIM(0.3, **settings)(network, image, label)
    stable = SMIA(0.3, stabilization=5.0, **settings)(network, image, label)
    assert instability(stable) < 0.9 * instability(plain)


@pytest.mark.parametrize(
    "wrong", [{"stabilization": -1.0}, {"stabilization": math.nan}, {"sigma": 0.0}, {"norm": "l1"}, {"max_steps": 0}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        SMIA(0.1, **wrong)
