# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""PGD against cleverhans', which computes in float32 only and keeps the last iterate.

cleverhans clamps to the bounds before it projects onto the ball, and once more after. Under L∞ that is the same. Under
L2 it is not the projection of the step, as Madry et al. have it, but of what the bounds left of it; so L2 is compared
where no pixel reaches a bound. It leaves gradients in the network's parameters, and draws its random start from a cube
also under L2.
"""

import math

import pytest
import torch

from monai_shield.attacks import PGD

STEPS = 8
every_dimension = pytest.mark.parametrize("dims", [2, 3])


def compare(cleverhans_pgd, network, image, record, attack, order, target=None):
    with torch.no_grad():
        label = network(image).argmax(1)
    with record(network) as ours:
        attack(network, image, label)
    with record(network) as theirs:
        final = cleverhans_pgd(
            network,
            image,
            attack.epsilon,
            attack.step_size,
            STEPS,
            order,
            clip_min=0.0,
            clip_max=1.0,
            y=label if target is None else target,
            targeted=target is not None,
            rand_init=False,
        )
    assert len(ours) == STEPS + 2  # the clean image twice: for its classes, and as the first iterate
    for our_iterate, their_iterate in zip(ours[1:], [*theirs, final.detach()], strict=True):
        torch.testing.assert_close(our_iterate, their_iterate, rtol=0, atol=1e-6)
    assert not torch.equal(ours[-1], image)


@every_dimension
def test_linf(cleverhans_pgd, segmenter, images, record, dims):
    image = images(dims, -0.2, 1.2).clamp(0, 1)
    attack = PGD(0.1, 0.03, STEPS, random_start=False, keep="last", bounds=(0, 1))
    compare(cleverhans_pgd, segmenter(dims, 5), image, record, attack, math.inf)


@every_dimension
def test_l2(cleverhans_pgd, segmenter, images, record, dims):
    image = images(dims, 0.4, 0.6)
    attack = PGD(1.0, 0.3, STEPS, "l2", random_start=False, keep="last", bounds=(0, 1))
    compare(cleverhans_pgd, segmenter(dims, 5), image, record, attack, 2)


@every_dimension
@pytest.mark.parametrize(("norm", "order"), [("linf", math.inf), ("l2", 2)])
def test_the_first_step_toward_a_target(cleverhans_pgd, segmenter, images, dims, norm, order):
    # the later ones differ: in ours a pixel that is predicted as its target is no part of the loss any more
    network, image = segmenter(dims, 5), images(dims, 0.4, 0.6)
    with torch.no_grad():
        target = (network(image).argmax(1) + 1) % 5  # nowhere reached yet
    ours = PGD(0.1, 0.05, 1, norm, random_start=False, keep="last", target=target, bounds=(0, 1))(network, image)
    theirs = cleverhans_pgd(network, image, 0.1, 0.05, 1, order, y=target, targeted=True, rand_init=False)
    torch.testing.assert_close(ours.image, theirs.detach(), rtol=0, atol=1e-6)
