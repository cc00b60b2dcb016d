# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""ALMA prox against adv-lib's, which is its authors' and takes images in 2D and three classes at least.

Theirs takes μ c for μ in the slope of the penalty, and so pulls less on a pixel the closer it is to giving way; the
norms are to be compared, not the iterates. An image on which an attack fails has an infinite norm.
"""

import math
from statistics import median

import torch
from torch import nn

from monai_shield.attacks import ALMAProx

SETTINGS = {"step": 0.003, "max_steps": 300}
SHARE = 0.01


def segmenter_and_images(seed):
    """Four classes whose logits meet in the middle of [0, 1], and images about there."""
    generator = torch.Generator().manual_seed(seed)
    network = nn.Conv2d(3, 4, 1)
    network.weight.data.uniform_(-0.5, 0.5, generator=generator)
    network.bias.data.copy_(-network.weight.data.flatten(1).sum(1) / 2)
    return network.eval(), 0.4 + 0.2 * torch.rand(6, 3, 12, 12, generator=generator)


def test_the_median_norm_is_no_larger(adv_lib):
    our_norms, their_norms = [], []
    for seed in range(3):
        network, image = segmenter_and_images(seed)
        label = network(image).argmax(1)
        ours = ALMAProx(**SETTINGS, bounds=(0, 1), stop_share=SHARE)(network, image, label)
        theirs = adv_lib.alma_prox(
            *(network, image, label),
            num_steps=SETTINGS["max_steps"],
            lr_init=SETTINGS["step"],
            adv_threshold=1 - SHARE,
        )
        fallen = (network(theirs).argmax(1) == label).flatten(1).double().mean(1) <= SHARE
        their_norms += (theirs - image).flatten(1).abs().amax(1).double().where(fallen, math.inf).tolist()
        our_norms += ours.norm_linf.where(ours.success, math.inf).tolist()
    assert median(our_norms) <= 1.05 * median(their_norms) < math.inf
