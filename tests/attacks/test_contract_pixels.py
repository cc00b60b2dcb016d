# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Every attack: which pixels are attacked, away from what, and where the image may change."""

import pytest
import torch

from support.attack_contract import SHAPES, every_attack, every_shape, make, make_image, make_network


@every_attack
@every_shape
def test_without_a_label_the_clean_prediction_is_the_label(name, settings, shape):
    network, image = make_network(shape).eval(), make_image(shape)
    attack, own = make(name, settings, network, image), network(image).argmax(1, keepdim=True)
    expected = attack(network, image).image
    assert torch.equal(attack(network, image, own).image, expected)
    assert torch.equal(attack(network, image, own.squeeze(1)).image, expected)
    assert torch.equal(attack(network, image, own.float()).image, expected)


@every_attack
@every_shape
def test_mask(name, settings, shape):
    network, image = make_network(shape), make_image(shape)
    mask = torch.zeros(shape[0], 1, *shape[2:], dtype=torch.bool)
    mask[:, :, 1:4, 1:4] = True
    free = make(name, settings, network, image)(network, image, mask=mask)
    confined = make(name, settings, network, image, confine_to_mask=True)(network, image, mask=mask)
    outside = ~mask.expand_as(image)
    assert bool((free.attacked <= mask.flatten(1).sum(1)).all())
    assert bool(((free.image - image)[outside] != 0).any())
    assert bool(((confined.image - image)[outside] == 0).all())
    assert bool(((confined.image - image)[~outside] != 0).any())


@every_attack
def test_nothing_to_attack(name, settings):
    shape = SHAPES[0]
    network, image = make_network(shape), make_image(shape)
    mask = torch.ones(shape[0], 1, *shape[2:])
    mask[1] = 0
    result = make(name, settings, network, image)(network, image, mask=mask)
    assert len(result.image) == len(image)
    assert result.attacked[1] == 0
    assert result.steps[1] == 0
    assert result.success[1]
    assert result.remaining[1] == 0
    if name != "uniform_noise":  # a control is noise everywhere
        assert torch.equal(result.image[1], image[1])


@every_attack
def test_void_pixels_are_not_attacked(name, settings):
    shape = SHAPES[0]
    network, image = make_network(shape).eval(), make_image(shape)
    label = network(image).argmax(1)
    knows = make(name, settings, network, image, ignore_index=255)
    full = knows(network, image, label)
    label[:, :4] = 255
    void = knows(network, image, label)
    attack = make(name, settings, network, image)
    masked = attack(network, image, label.where(label != 255, 0), (label != 255).unsqueeze(1))
    assert bool((void.attacked < full.attacked).all())
    assert torch.equal(void.attacked, masked.attacked)
    assert torch.equal(void.image, masked.image)
    with pytest.raises(ValueError, match="255"):
        attack(network, image, label)
