# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Every attack: what it refuses, in one line that names it."""

import math

import pytest
import torch
from torch import nn

from monai_shield.attacks import ATTACKS, DAG, PGD
from support.attack_contract import CASES, SHAPES, every_attack, make, make_image, make_network


class Several(nn.Module):
    """A network with several outputs, as with deep supervision."""

    def __init__(self, network, kind):
        super().__init__()
        self.network, self.kind = network, kind

    def forward(self, image):
        return self.kind([self.network(image)]) if self.kind is not dict else {"out": self.network(image)}


@pytest.mark.parametrize(
    ("image", "label", "mask", "message"),
    [
        (torch.zeros(2, 1, 8), None, None, "image must be"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.int16), None, None, "image must be"),
        (torch.zeros(0, 1, 8, 8), None, None, "image must be"),
        (torch.full((1, 1, 8, 8), math.nan), None, None, "not finite"),
        (torch.full((1, 1, 8, 8), math.inf), None, None, "not finite"),
        (torch.rand(1, 1, 8, 8), torch.zeros(1, 4, 8, 8), None, "label must be"),
        (torch.rand(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.5), None, "whole numbers"),
        (torch.rand(1, 1, 8, 8), torch.full((1, 8, 8), 4), None, "classes 0 to 3"),
        (torch.rand(1, 1, 8, 8), torch.full((1, 8, 8), -1), None, "classes 0 to 3"),
        (torch.rand(1, 1, 8, 8), None, torch.ones(1, 1, 4, 4), "mask must be"),
    ],
)
@every_attack
def test_images_labels_and_masks(name, settings, image, label, mask, message):
    network = make_network((1, 1, 8, 8), torch.float32)
    attack = make(name, settings, network, torch.rand(1, 1, 8, 8))
    with pytest.raises(ValueError, match=message):
        attack(network, image, label, mask)


@every_attack
def test_networks(name, settings):
    network, image = make_network(SHAPES[0]), make_image(SHAPES[0])
    attack = make(name, settings, network, image)
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        attack(lambda x: x, image)
    with pytest.raises(ValueError, match="do not lie"):
        attack(nn.MaxPool2d(2), image)
    for kind in (list, tuple, dict):
        with pytest.raises(TypeError, match=rf"tensor of logits, got {kind.__name__}: wrap it in \S*SelectOutput"):
            attack(Several(network, kind), image)
    with pytest.raises(ValueError, match="index must name"):
        attack(network, image, index=[0])
    with pytest.raises(ValueError, match="outside the bounds"):
        make(name, settings, network, image, bounds=(0, 0.5))(network, image)
    with pytest.raises(ValueError, match="needs a mask"):
        make(name, settings, network, image, confine_to_mask=True)(network, image)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bounds": (1, 0)},
        {"bounds": (1,)},
        {"window": 0.0},
        {"window": "volume"},
        {"stop_share": 1.0},
        {"micro_batch": 0},
    ],
)
@every_attack
def test_settings_out_of_range(name, settings, wrong):
    image = make_image(SHAPES[0])
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))} must be"):
        make(name, settings, make_network(SHAPES[0]), image, **wrong)


@pytest.mark.parametrize(("name", "settings"), [row for row in CASES if hasattr(ATTACKS[row[0]], "norm")])
def test_a_norm_that_is_none(name, settings):
    with pytest.raises(ValueError, match="norm must be one of linf, l2, got 'l1'"):
        ATTACKS[name](**{**settings, "norm": "l1"})


@pytest.mark.parametrize("attack", [DAG, PGD])
def test_a_gradient_that_is_not_finite(attack):
    class Broken(nn.Module):
        def forward(self, image):
            return torch.cat([image, (image * 0).sqrt()], 1)

    ready = attack(**attack.examples[0], attack_background=True, bounds=(-9, 9))
    with pytest.raises(ValueError, match="gradient is not finite"):
        ready(Broken(), -make_image((1, 1, 4, 4)), torch.ones(1, 4, 4))
