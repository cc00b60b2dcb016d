# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""DAG against adv-lib's, the only other one for batches of segmentations.

adv-lib's deviates from Xie et al.: a pixel is pulled to whatever class is second at the current iterate, not to a fixed
adversarial label. So the two agree where there are two classes, and where our DAG is asked anew at every step for the
current runner-up. Besides, adv-lib hands back the clean image when it fails, clamps to [0, 1] whatever the image, and
lets its perturbation grow beyond what it clamps: a pixel at a bound gets no gradient there and stays at it.
"""

import math

import pytest
import torch
from torch import nn

from monai_shield.attacks import DAG

ITERATES = 10
ORDER = {"linf": math.inf, "l2": 2}
STEP = {"linf": 0.01, "l2": 0.05}
STEPS = 8
# where no pixel can reach a bound within ten steps; where some do; where many lie at one from the start
INSIDE, UNIT, CLIPPED = (0.2, 0.8), (0.0, 1.0), (-0.3, 1.3)
every_norm = pytest.mark.parametrize("norm", ["linf", "l2"])
every_dimension = pytest.mark.parametrize("dims", [2, 3])
every_range = pytest.mark.parametrize("ends", [INSIDE, UNIT], ids=["inside", "unit"])


def predict(network, image):
    with torch.no_grad():
        return network(image)


def runner_up(logits, label):
    return logits.scatter(1, label.unsqueeze(1), -math.inf).argmax(1)


def cosines(ours, theirs, clean):
    return torch.cosine_similarity((ours - clean).flatten(1), (theirs - clean).flatten(1))


@pytest.fixture
def their_iterates(adv_lib, record):
    """The first ten iterates after the clean image, of images that are never done."""

    def run(network, image, label, norm):
        with record(network) as seen:
            adv_lib.dag(network, image, label, adv_threshold=2, max_iter=ITERATES + 1, γ=STEP[norm], p=ORDER[norm])
        assert torch.equal(seen[0], image)
        assert len(seen) == ITERATES + 1
        return seen[1:]

    return run


@every_norm
@every_dimension
@every_range
def test_two_classes(segmenter, images, record, their_iterates, norm, dims, ends):
    network, image = segmenter(dims, 2), images(dims, *ends)
    label = predict(network, image).argmax(1)
    attack = DAG("runner_up", STEP[norm], norm, ITERATES, attack_background=True, bounds=(0, 1), stop_share=0)
    with record(network) as seen:
        result = attack(network, image, label)
    assert bool((result.steps == ITERATES).all())
    assert len(seen) == ITERATES + 2  # the clean image twice: for its logits, and as the first iterate
    for ours, theirs in zip(seen[2:], their_iterates(network, image, label, norm), strict=True):
        assert bool((cosines(ours, theirs, image) >= 0.999).all())
        if ends == INSIDE:
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@every_norm
@every_dimension
@every_range
def test_current_runner_up_of_many_classes(segmenter, images, their_iterates, norm, dims, ends):
    network, image = segmenter(dims, 6), images(dims, *ends)
    label = predict(network, image).argmax(1)
    clean_runner_up, changes = runner_up(predict(network, image), label), 0
    ours = image
    for theirs in their_iterates(network, image, label, norm):
        target = runner_up(predict(network, ours), label)
        changes += int((target != clean_runner_up).sum())
        attack = DAG(target, STEP[norm], norm, 1, attack_background=True, bounds=(0, 1), stop_share=0)
        ours = attack(network, ours, label).image
        assert bool((cosines(ours, theirs, image) >= 0.999).all())
        if ends == INSIDE:
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert changes > 0  # else it would be the runner-up of the clean image


class Clamp(nn.Module):
    """Before a network, what adv-lib does in its attack: no gradient beyond [0, 1]."""

    def forward(self, image):
        return image.clamp(0, 1)


@every_norm
@every_dimension
def test_at_the_bounds_only_the_clamp_differs(segmenter, images, record, their_iterates, norm, dims):
    network, image = segmenter(dims, 2), images(dims, *CLIPPED).clamp(0, 1)
    label = predict(network, image).argmax(1)
    theirs = their_iterates(network, image, label, norm)
    assert bool((theirs[0] == image).any())  # at a bound

    settings = {"attack_background": True, "stop_share": 0}
    attack = DAG("runner_up", STEP[norm], norm, ITERATES, bounds=(-9, 9), **settings)
    with record(network) as seen:
        attack(nn.Sequential(Clamp(), network), image, label)
    for ours, their_iterate in zip(seen[2:], theirs, strict=True):
        torch.testing.assert_close(ours, their_iterate, rtol=0, atol=1e-6)

    bounded = DAG("runner_up", STEP[norm], norm, ITERATES, bounds=(0, 1), **settings)(network, image, label)
    assert bool((cosines(bounded.image, theirs[-1], image) >= 0.99).all())


@every_norm
@every_dimension
def test_the_same_images_are_done_at_the_same_step(adv_lib, segmenter, images, record, norm, dims):
    network, image = segmenter(dims, 2), images(dims, 0.3, 0.7)
    label = predict(network, image).argmax(1)
    mask = torch.zeros_like(label, dtype=torch.bool)
    mask[:, 2:7] = True
    attack = DAG("runner_up", STEP[norm], norm, STEPS, attack_background=True, bounds=(0, 1), stop_share=0)
    attack.stop_share = float(attack(network, image, label, mask).remaining.quantile(0.5))  # half of them get there
    result = attack(network, image, label, mask)
    with record(network) as seen:
        # it takes one step fewer than it looks at iterates, and so does not look at the last
        theirs = adv_lib.dag(
            network, image, label, mask, False, 1 - attack.stop_share, STEPS + 1, STEP[norm], ORDER[norm]
        )
    their_success = (theirs != image).flatten(1).any(1)
    assert torch.equal(result.success, their_success)
    assert bool(result.success.any())
    assert not bool(result.success.all())
    batches = [int((~result.success | (result.steps >= taken)).sum()) for taken in range(STEPS + 1)]
    assert [len(batch) for batch in seen] == batches
    torch.testing.assert_close(result.image[result.success], theirs[result.success], rtol=0, atol=1e-6)
    # where it fails it hands back the clean image, ours the last iterate
    assert torch.equal(theirs[~result.success], image[~result.success])
    assert bool((result.norm_linf[~result.success] > 0).all())
