# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Networks built to look robust while they are not (after Zimmermann et al. 2022, arXiv 2206.13991).

Beneath each lies the same plain segmenter, which falls within the budget; what is put around it hides the gradient, not
the weakness. For each there is a naive attack that must fail, or the test would show nothing, and one that must
succeed, or the attacks would be too weak to judge a defense with.
"""

import math
from typing import NamedTuple

import pytest
import torch
from torch import nn

from monai_shield.attacks import DAG, PGD, Square, UniformNoise
from monai_shield.attacks.base import Attack
from monai_shield.attacks.bpda import BPDA
from monai_shield.attacks.eot import ExpectationNetwork

MARGIN, EPSILON = 0.1, 0.125
SHARE = 0.01  # a network is broken when no more than this share of its pixels is still right
FAILED = 0.5  # an attack has failed when more than this share is

SETTINGS = {"bounds": (-1.0, 2.0), "stop_share": SHARE}
PGD_ = PGD(EPSILON, max_steps=20, **SETTINGS)
DAG_ = DAG("runner_up", step=EPSILON / 20, max_steps=20, attack_background=True, **SETTINGS)
SQUARE = Square(EPSILON, max_steps=1000, p=0.02, **SETTINGS)


class Plain(nn.Module):
    """Class 1 where the image is brighter than 0.5: z = (0, x - 0.5)."""

    def forward(self, image):
        return torch.cat([torch.zeros_like(image), image - 0.5], 1)


class Quantize(nn.Module):
    """Intensities rounded to multiples of 0.02: no gradient anywhere."""

    def forward(self, image):
        return torch.round(image * 50) / 50


class Saturated(nn.Module):
    """Logits so large that the softmax of float32 is exactly one-hot, and cross entropy flat where a pixel is right."""

    def forward(self, image):
        return 1e4 * Plain()(image)


class Shake(nn.Module):
    """A ripple over the intensities, of a phase drawn for each pixel: too low to change a prediction, but five times
    steeper than what it lies on, so that the gradient of one draw says next to nothing."""

    def forward(self, image):
        phase = 2 * math.pi * torch.rand_like(image)
        return image + 0.005 * torch.sin(image * (5 / 0.005) + phase)


class Case(NamedTuple):
    network: nn.Module
    naive: Attack
    breaks: Attack
    through: nn.Module  # the network that the attack which breaks it runs on


QUANTIZED = nn.Sequential(Quantize(), Plain())
RANDOM = nn.Sequential(Shake(), Plain())
CASES = {
    "quantized-pgd": Case(QUANTIZED, PGD_, PGD_, nn.Sequential(BPDA(Quantize()), Plain())),
    "quantized-dag": Case(QUANTIZED, DAG_, DAG_, nn.Sequential(BPDA(Quantize()), Plain())),
    "quantized-square": Case(QUANTIZED, PGD_, SQUARE, QUANTIZED),
    "saturated": Case(Saturated(), PGD_, DAG_, Saturated()),
    "saturated-square": Case(Saturated(), PGD_, SQUARE, Saturated()),
    "random": Case(RANDOM, PGD_, PGD_, ExpectationNetwork(RANDOM, draws=128)),
}


def scene(dims):
    """Images (2,1,spatial) with each pixel about MARGIN above or below 0.5, and their labels."""
    values = torch.rand(2, 1, *(12, 10, 4)[:dims], generator=torch.Generator().manual_seed(0))
    label = (values > 0.5).long()
    return 0.5 + (2 * label - 1) * MARGIN + 0.01 * (values - 0.5), label


def still_right(network, image, label):
    """Share of the pixels that the network itself predicts as their label, in the mean over 20 draws if it draws."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(12345)  # draws that no attack has seen
        right = [network(image).argmax(1) == label.squeeze(1) for _ in range(20)]
    return float(torch.stack(right).double().mean())


def after(attack, case, through, dims):
    image, label = scene(dims)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        result = attack(through, image, label)
    assert float(result.norm_linf.max()) <= EPSILON * 1.001
    return still_right(case.network, result.image, label)


every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
every_dims = pytest.mark.parametrize("dims", [2, 3])


@every_case
@every_dims
def test_it_is_right_on_clean_images_and_noise_does_not_break_it(case, dims):
    image, label = scene(dims)
    assert still_right(case.network, image, label) == 1
    assert after(UniformNoise(EPSILON, **SETTINGS), case, case.network, dims) > FAILED


@pytest.mark.parametrize("attack", [PGD_, DAG_], ids=["pgd", "dag"])
@every_dims
def test_without_what_hides_it_the_segmenter_falls_to_every_attack(attack, dims):
    image, label = scene(dims)
    assert still_right(Plain(), attack(Plain(), image, label).image, label) <= SHARE


@every_case
@every_dims
def test_the_naive_attack_fails(case, dims):
    assert after(case.naive, case, case.network, dims) > FAILED


@every_case
@every_dims
def test_the_attack_that_knows_breaks_it(case, dims):
    assert after(case.breaks, case, case.through, dims) <= SHARE
