# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from monai_shield.attacks import BIM, FGSM, MIFGSM, PGD

WIDE = (-1000.0, 1000.0)
NORMS = ["linf", "l2"]
SHAPES = [(3, 1, 6, 5), (2, 1, 5, 4, 3)]
every_norm = pytest.mark.parametrize("norm", NORMS)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])


def network_for(shape):
    conv = nn.Conv2d if len(shape) == 4 else nn.Conv3d
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(conv(1, 6, 3, padding=1), nn.Tanh(), conv(6, 3, 3, padding=1)).double()


def draw(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient_of(network, image, label):
    image = image.clone().requires_grad_()
    pixels = nn.functional.cross_entropy(network(image), label, reduction="none")
    return torch.autograd.grad(pixels.flatten(1).mean(1).sum(), image)[0]


def norm_of(values, order):
    return torch.linalg.vector_norm(values.flatten(1), order, dim=1).reshape(-1, *[1] * (values.ndim - 1))


@every_shape
@every_norm
def test_fgsm_is_its_formula(norm, shape):
    network, image = network_for(shape), draw(shape)
    label = network(image).argmax(1)
    gradient = gradient_of(network, image, label)
    direction = gradient.sign() if norm == "linf" else gradient / norm_of(gradient, 2)
    result = FGSM(0.2, norm=norm, bounds=WIDE, window=3.0)(network, image, label)
    torch.testing.assert_close(result.image, image + 0.6 * direction)
    assert result.steps.tolist() == [1] * shape[0]


@every_shape
@every_norm
def test_fgsm_is_the_first_step_of_every_other(norm, shape):
    network, image = network_for(shape), draw(shape)
    expected = FGSM(0.3, norm=norm)(network, image).image
    plain = PGD(0.3, step_size=0.3, max_steps=1, norm=norm, random_start=False, keep="last")
    for attack in (BIM(0.3, step_size=0.3, max_steps=1, norm=norm), MIFGSM(0.3, max_steps=1, norm=norm), plain):
        torch.testing.assert_close(attack(network, image).image, expected)


@every_shape
@every_norm
def test_without_momentum_it_is_bim(norm, shape):
    network, image = network_for(shape), draw(shape)
    settings = {"epsilon": 0.3, "step_size": 0.05, "max_steps": 7, "norm": norm}
    still = MIFGSM(**settings, momentum=0.0)(network, image).image
    assert torch.equal(still, BIM(**settings)(network, image).image)
    assert not torch.equal(still, MIFGSM(**settings, momentum=1.0)(network, image).image)


@pytest.mark.parametrize("momentum", [0.5, 1.0])
def test_momentum_is_its_formula(momentum):
    network, image = network_for(SHAPES[0]), draw(SHAPES[0])
    label = network(image).argmax(1)
    x, velocity = image, torch.zeros_like(image)
    for _ in range(6):
        gradient = gradient_of(network, x, label)
        velocity = momentum * velocity + gradient / norm_of(gradient, 1)
        x = (x + 0.1 * velocity.sign()).clamp(image - 0.25, image + 0.25)
    attack = MIFGSM(0.25, step_size=0.1, max_steps=6, momentum=momentum, bounds=WIDE)
    torch.testing.assert_close(attack(network, image, label).image, x)


def test_momentum_goes_with_its_image_when_others_leave():
    network, image = network_for(SHAPES[0]), draw((6, 1, 6, 5))
    attack = MIFGSM(0.6, step_size=0.03, max_steps=20, stop_early=True, stop_share=0.5, bounds=WIDE)
    together = attack(network, image)
    assert len(together.steps.unique()) > 1  # they leave at different steps, or the test would show nothing
    for i in range(len(image)):
        torch.testing.assert_close(attack(network, image[i : i + 1]).image, together.image[i : i + 1])


@every_shape
@pytest.mark.parametrize("target", [None, "runner_up"])
@pytest.mark.parametrize("make", [FGSM, BIM, MIFGSM])
def test_the_optimum_of_a_linear_network(linear_segmenter, make, target, shape):
    # a pixel of value v falls with a change of |v|: an image needs the largest of them
    image = draw(shape) - 0.5
    settings = {"target": target, "bounds": WIDE, "stop_share": 0.0}
    for each in image.split(1):
        best = float(each.abs().max())
        above, below = (make(share * best, **settings)(linear_segmenter(), each) for share in (1.25, 0.99))
        assert above.success.tolist() == [True]
        assert above.norm_linf.item() <= 1.25 * best * (1 + 1e-12)
        assert below.success.tolist() == [False]


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="momentum must"):
        MIFGSM(0.1, momentum=-0.5)
    with pytest.raises(TypeError, match="max_steps"):
        FGSM(0.1, max_steps=5)
