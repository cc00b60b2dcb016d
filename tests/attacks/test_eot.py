# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from monai_shield.attacks import PGD
from monai_shield.attacks.eot import ExpectationNetwork


def draw(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Scaling(nn.Module):
    """Multiplies each pixel by a number drawn uniformly from [0, 2): x in the mean."""

    def forward(self, image):
        return image * 2 * torch.rand_like(image)


class Segmenter(nn.Module):
    """Classes 0 and x - 0.5 after a shift of the intensities that is drawn at random."""

    def forward(self, image):
        shifted = image + 0.1 * torch.randn_like(image)
        return torch.cat([torch.zeros_like(shifted), shifted - 0.5], 1)


@pytest.mark.parametrize("shape", [(2, 1, 6, 5), (2, 2, 4, 5, 3)], ids=["2d", "3d"])
def test_mean_and_gradient_close_in_on_the_expectation(shape):
    image = (draw(*shape) + 0.5).requires_grad_()
    spread = []
    for draws in (4, 400):
        logits = ExpectationNetwork(Scaling(), draws)(image)
        (gradient,) = torch.autograd.grad(logits.sum(), image)
        torch.testing.assert_close(gradient * image, logits)  # one mean factor per pixel, in both
        spread.append((gradient - 1).square().mean().sqrt())
    # the standard deviation of one draw is 1/√3, that of a mean of n is √n times smaller
    assert spread[0] == pytest.approx(1 / 12**0.5, rel=0.4)
    assert spread[1] == pytest.approx(1 / 1200**0.5, rel=0.4)


def test_a_network_that_does_not_draw_is_itself():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Conv2d(1, 3, 3, padding=1).double()
    image = draw(2, 1, 6, 6)
    torch.testing.assert_close(ExpectationNetwork(network, 5)(image), network(image))


def test_it_is_a_function_of_the_image_and_the_seed():
    image = draw(3, 1, 6, 6)
    network = ExpectationNetwork(Scaling(), 3)
    together = network(image)
    with torch.random.fork_rng():
        torch.manual_seed(77)
        assert torch.equal(network(image), together)
    for i in range(3):
        assert torch.equal(network(image[i : i + 1]), together[i : i + 1])
    assert not torch.equal(ExpectationNetwork(Scaling(), 3, seed=1)(image), together)
    assert not torch.equal(ExpectationNetwork(Scaling(), 4)(image), together)
    # the draws differ: the same one n times would be the first of them
    assert not torch.equal(ExpectationNetwork(Scaling(), 1)(image), together)


def test_the_global_random_state_is_left_alone():
    class Broken(nn.Module):
        def forward(self, image):
            raise RuntimeError("out of order")

    state = torch.get_rng_state()
    ExpectationNetwork(Scaling(), 2)(draw(2, 1, 4, 4))
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(RuntimeError, match="out of order"):
        ExpectationNetwork(Broken(), 2)(draw(2, 1, 4, 4))
    assert torch.equal(torch.get_rng_state(), state)


def test_an_image_under_attack_does_not_feel_its_batch_mates():
    network, image = ExpectationNetwork(Segmenter(), 4), draw(3, 1, 6, 6)
    attack = PGD(0.3, max_steps=6, stop_early=True)
    together = attack(network, image)
    for i in range(3):
        alone = attack(network, image[i : i + 1], index=[i])
        torch.testing.assert_close(alone.image, together.image[i : i + 1], rtol=0, atol=1e-12)


def test_without_draws_it_is_refused():
    with pytest.raises(ValueError, match="draws"):
        ExpectationNetwork(Scaling(), 0)
