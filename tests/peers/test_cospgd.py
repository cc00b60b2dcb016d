# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""SegPGD and CosPGD against the weights and steps of the package cospgd, by the authors of CosPGD.

Its weight of SegPGD divides by the size of the last two dimensions only, in 3D too; its weight of CosPGD cannot take 3D
labels. So 3D is compared with the depth laid beside the width, which a value of each pixel does not feel.
"""

import pytest
import torch
from torch.nn import functional

from monai_shield.attacks import CosPGD, SegPGD
from monai_shield.attacks.losses import cos_pgd, seg_pgd
from monai_shield.attacks.problem import Problem

CLASSES, STEPS = 5, 8
every_shape = pytest.mark.parametrize("shape", [(3, 6, 5), (2, 4, 3, 5)], ids=["2d", "3d"])
either_way = pytest.mark.parametrize("targeted", [False, True], ids=["untargeted", "targeted"])


def flat(values):
    """(B,...,H,W,D) to (B,...,H,W·D), (B,...,H,W) as it is."""
    return values.flatten(-2) if values.shape[-3:] == (4, 3, 5) else values


def pose(shape, targeted):
    """Logits, a problem of which all pixels are attacked, and those not yet fooled: about half."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(shape[0], CLASSES, *shape[1:], generator=generator, dtype=torch.float64)
    label = torch.randint(CLASSES, shape, generator=generator)
    wanted = torch.where(torch.rand(shape, generator=generator) < 0.5, logits.argmax(1), label)
    everywhere = torch.ones(shape, dtype=torch.bool)
    one = torch.ones(shape[0], 1, *[1] * (len(shape) - 1), dtype=torch.float64)
    label, target = (label, wanted) if targeted else (wanted, None)
    problem = Problem(logits, label, target, ~everywhere, everywhere, None, -one, one, one, torch.arange(shape[0]))
    reached = logits.argmax(1) == wanted
    assert bool(reached.any())
    assert not bool(reached.all())
    return logits.requires_grad_(), problem, wanted, ~reached if targeted else reached


def agree(ours, theirs, logits, targeted):
    """Their loss is to shrink toward a target, ours grows."""
    theirs = -theirs if targeted else theirs
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    (our_gradient,) = torch.autograd.grad(ours.sum(), logits, retain_graph=True)
    (their_gradient,) = torch.autograd.grad(theirs.sum(), logits)
    assert bool(our_gradient.any())
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-10, atol=1e-15)


@every_shape
@either_way
@pytest.mark.parametrize("taken", [0, 3, STEPS])
def test_seg_pgd(cospgd, shape, targeted, taken):
    logits, problem, wanted, not_fooled = pose(shape, targeted)
    pixels = functional.cross_entropy(logits, wanted, reduction="none")
    theirs = cospgd.segpgd_scale(flat(logits), flat(wanted), flat(pixels), taken, STEPS, targeted)
    agree(seg_pgd(logits, problem, not_fooled, taken / STEPS).sum(), theirs, logits, targeted)


@every_shape
@either_way
def test_cos_pgd(cospgd, shape, targeted):
    logits, problem, wanted, not_fooled = pose(shape, targeted)
    pixels = functional.cross_entropy(logits, wanted, reduction="none")
    theirs = cospgd.cospgd_scale(flat(logits), flat(wanted), flat(pixels), CLASSES, targeted)
    agree(cos_pgd(logits, problem, not_fooled, 0.0), theirs.flatten(1).mean(1), logits, targeted)


@pytest.mark.parametrize("attack", [SegPGD, CosPGD])
@pytest.mark.parametrize(("norm", "epsilon", "step"), [("linf", 0.1, 0.03), ("l2", 1.0, 0.3)])
def test_whole_attacks(cospgd, segmenter, images, record, attack, norm, epsilon, step):
    network, image = segmenter(2, CLASSES, torch.float64), images(2, -0.2, 1.2, torch.float64).clamp(0, 1)
    with torch.no_grad():
        label = network(image).argmax(1)
    with record(network) as seen:
        attack(epsilon, step, STEPS, norm, random_start=False, bounds=(0, 1))(network, image, label)

    take = cospgd.step_inf if norm == "linf" else cospgd.step_l2
    theirs = image
    for taken, ours in enumerate(seen[1:]):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
        theirs = theirs.detach().requires_grad_()
        logits = network(theirs)
        pixels = functional.cross_entropy(logits, label, reduction="none")
        if attack is SegPGD:
            value = cospgd.segpgd_scale(logits, label, pixels, taken, STEPS)
        else:
            value = cospgd.cospgd_scale(logits, label, pixels, CLASSES).mean()
        (gradient,) = torch.autograd.grad(value, theirs)
        theirs = take(theirs, torch.tensor(epsilon, dtype=torch.float64), gradient, image, step, False)
    assert taken == STEPS
