# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""FGSM and PGD against torchattacks', which take (B,spatial) labels though they were not made for them.

torchattacks clamps to [0, 1] whatever the image, and keeps the last iterate. Its PGDL2 adds 1e-10 to the norm of a
gradient, which Madry et al. do not, and cannot take 3D images.
"""

import pytest
import torch

from monai_shield.attacks import BIM, FGSM, PGD

EPSILON, STEP, STEPS = 0.1, 0.03, 8
EPSILON_L2, STEP_L2 = 1.0, 0.3
every_dimension = pytest.mark.parametrize("dims", [2, 3])
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def pose(segmenter, images, dims, dtype=torch.float32):
    """A network, images of which many pixels lie at the bounds, and a label that is wrong on some pixels."""
    network, image = segmenter(dims, 5, dtype), images(dims, -0.2, 1.2, dtype).clamp(0, 1)
    with torch.no_grad():
        label = network(image).argmax(1)
    label[:, :3] = 1
    return network, image, label


def same(ours, theirs, clean):
    assert len(ours) == len(theirs)
    for our_iterate, their_iterate in zip(ours, theirs):
        torch.testing.assert_close(our_iterate, their_iterate, rtol=0, atol=1e-6)
    assert not torch.equal(ours[-1], clean)


@every_dimension
@every_dtype
def test_fgsm(torchattacks, segmenter, images, dims, dtype):
    network, image, label = pose(segmenter, images, dims, dtype)
    ours = FGSM(EPSILON, bounds=(0, 1))(network, image, label).image
    same([ours], [torchattacks.FGSM(network, eps=EPSILON)(image, label)], image)


@every_dimension
@every_dtype
@pytest.mark.parametrize("attack", [BIM, PGD])
def test_pgd_from_the_clean_image(torchattacks, segmenter, images, record, dims, dtype, attack):
    network, image, label = pose(segmenter, images, dims, dtype)
    with record(network) as ours:
        result = attack(EPSILON, STEP, STEPS, random_start=False, keep="last", bounds=(0, 1))(network, image, label)
    with record(network) as theirs:
        final = torchattacks.PGD(network, EPSILON, STEP, STEPS, random_start=False)(image, label)
    same(ours[1:], [*theirs, final], image)  # before, ours sees the clean image once for its classes
    assert torch.equal(result.image, ours[-1])


@every_dtype
def test_pgd_l2_from_the_clean_image(torchattacks, segmenter, images, record, dtype):
    network, image, label = pose(segmenter, images, 2, dtype)
    attack = PGD(EPSILON_L2, STEP_L2, STEPS, "l2", random_start=False, keep="last", bounds=(0, 1))
    with record(network) as ours:
        attack(network, image, label)
    with record(network) as theirs:
        final = torchattacks.PGDL2(network, EPSILON_L2, STEP_L2, STEPS, random_start=False)(image, label)
    same(ours[1:], [*theirs, final], image)


@every_dimension
def test_pgd_from_our_random_start(torchattacks, segmenter, images, record, monkeypatch, dims):
    network, image, label = pose(segmenter, images, dims, torch.float64)
    with record(network) as ours:
        PGD(EPSILON, STEP, STEPS, keep="last", bounds=(0, 1))(network, image, label)
    noise = ours[1] - image
    assert bool(noise.any())
    with record(network) as theirs, monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "uniform_", lambda self, low, high: self.copy_(noise))
        final = torchattacks.PGD(network, EPSILON, STEP, STEPS)(image, label)
    same(ours[1:], [*theirs, final], image)


def test_pgd_l2_from_our_random_start(torchattacks, segmenter, images, record, monkeypatch):
    network, image, label = pose(segmenter, images, 2, torch.float64)
    with record(network) as ours:
        PGD(EPSILON_L2, STEP_L2, STEPS, "l2", keep="last", bounds=(0, 1))(network, image, label)
    noise = ours[1] - image
    assert bool(noise.any())
    radius = noise.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1) / EPSILON_L2
    with record(network) as theirs, monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "normal_", lambda self: self.copy_(noise))
        patch.setattr(torch.Tensor, "uniform_", lambda self, low, high: self.copy_(radius))
        final = torchattacks.PGDL2(network, EPSILON_L2, STEP_L2, STEPS)(image, label)
    same(ours[1:], [*theirs, final], image)
