# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Every attack: what it hands back, whatever batch an image comes in and whatever its unit."""

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from monai_shield.attacks import ATTACKS
from monai_shield.attacks.base import window_width
from monai_shield.info import Info
from support.attack_contract import SHAPES, Rescaled, every_attack, every_shape, make, make_image, make_network


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_info_names_the_source(name):
    info = ATTACKS[name].info
    assert isinstance(info, Info)
    assert info.name
    assert info.paper
    assert (info.arxiv is None) == (info.year is None)
    assert len(ATTACKS[name].examples) > 0


@every_attack
@every_shape
def test_result_accounts_for_every_image(name, settings, shape):
    image, network = make_image(shape, torch.float32), make_network(shape, torch.float32)
    result = make(name, settings, network, image)(network, image)
    assert result.image.shape == image.shape
    assert result.image.dtype == torch.float32
    assert not result.image.requires_grad
    change = (result.image - image).flatten(1).double()
    torch.testing.assert_close(result.norm_linf, change.abs().amax(1))
    torch.testing.assert_close(result.norm_l2, change.square().sum(1).sqrt())
    assert result.steps.shape == result.success.shape == result.attacked.shape == result.window.shape == shape[:1]
    assert result.steps.dtype == torch.int64
    assert result.success.dtype == torch.bool
    assert bool((result.norm_linf > 0).all())


@every_attack
@every_shape
def test_an_image_does_not_feel_its_batch_mates(name, settings, shape):
    network = make_network(shape)
    image = make_image(shape) * torch.linspace(0.2, 3, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    image[1] = 0.5  # a constant one among them
    attack = make(name, settings, network, image)
    together = attack(network, image)
    for i in range(shape[0]):
        alone = attack(network, image[i : i + 1], index=[i])
        torch.testing.assert_close(alone.image, together.image[i : i + 1], rtol=0, atol=1e-9)
        assert alone.steps[0] == together.steps[i]
        assert alone.success[0] == together.success[i]
    backward = list(range(shape[0]))[::-1]
    reversed_ = attack(network, image[backward], index=backward)
    torch.testing.assert_close(reversed_.image[backward], together.image, rtol=0, atol=1e-9)


@every_attack
@pytest.mark.parametrize("number", [1, 3, 9])
def test_micro_batches_change_nothing(name, settings, number):
    shape = SHAPES[0]
    network, image = make_network(shape), make_image(shape)
    sizes = [0]

    def count(module, inputs, output):
        if output.requires_grad:  # it keeps what a backward pass needs
            sizes.append(len(output))

    network.register_forward_hook(count)
    whole = make(name, settings, network, image)(network, image)
    sizes[:] = [0]
    parts = make(name, settings, network, image, micro_batch=number)(network, image)
    assert max(sizes) <= number
    torch.testing.assert_close(parts.image, whole.image, rtol=0, atol=1e-9)
    assert torch.equal(parts.steps, whole.steps)
    assert torch.equal(parts.success, whole.success)


@every_attack
@pytest.mark.parametrize(("scale", "shift"), [(1, -0.5), (3000, -1000)], ids=["z-scored", "hounsfield"])
def test_each_image_keeps_to_its_own_range(name, settings, scale, shift):
    shape = SHAPES[0]
    image = make_image(shape) * torch.linspace(0.5, 1, shape[0]).reshape(-1, 1, 1, 1) * scale + shift
    network = nn.Sequential(Rescaled(scale, shift), make_network(shape)).double()
    result = make(name, settings, network, image, window="image")(network, image)
    for clean, adversarial in zip(image, result.image):
        assert adversarial.min() >= clean.min()
        assert adversarial.max() <= clean.max()
    assert bool((result.norm_linf > 0).all())

    low, high = float(image.min()), float(image.max())
    result = make(name, settings, network, image, window="image", bounds=(low, high))(network, image)
    assert low <= result.image.min()
    assert result.image.max() <= high


@every_attack
@every_shape
def test_the_unit_of_intensity_does_not_matter(name, settings, shape):
    # the same scan written in other units, before the same network, is attacked in the same way
    network, image = make_network(shape), make_image(shape)
    image = image - image.amin(dim=tuple(range(1, image.ndim)), keepdim=True)  # the background of a scan is 0
    rescaled = nn.Sequential(Rescaled(1700.0, -1024.0), network)
    result = make(name, settings, network, image, window="image")(network, image)
    other = make(name, settings, rescaled, image, window="image")(rescaled, image * 1700 - 1024)
    torch.testing.assert_close(other.image, result.image * 1700 - 1024, rtol=0, atol=1e-6)
    torch.testing.assert_close(other.norm_linf / other.window, result.norm_linf / result.window)


def test_window_is_the_percentile_inside_the_foreground():
    foreground = torch.arange(1, 1001, dtype=torch.float64)
    image = torch.cat([torch.zeros(600), foreground]).reshape(1, 1, 40, 40)
    assert window_width(image).flatten().tolist() == [995]
    assert window_width(image - 1024).flatten().tolist() == [995]
    with pytest.raises(ValueError, match="constant"):
        window_width(torch.zeros(1, 1, 4, 4))


@every_attack
def test_metatensor_in_metatensor_out(name, settings):
    shape = SHAPES[1]
    network, image = make_network(shape), make_image(shape)
    attack = make(name, settings, network, image)
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0]))
    result = attack(network, MetaTensor(image, affine=affine, meta={"filename_or_obj": "scan.nii"}))
    assert isinstance(result.image, MetaTensor)
    assert result.image.meta["filename_or_obj"] == "scan.nii"
    assert torch.equal(result.image.affine, affine.double())
    assert not isinstance(result.norm_l2, MetaTensor)
    plain = attack(network, image).image
    assert not isinstance(plain, MetaTensor)
    assert torch.equal(result.image.as_tensor(), plain)
