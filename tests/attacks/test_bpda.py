# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import MedianSmooth
from torch import nn

from monai_shield.attacks.bpda import BPDA


def draw(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quantize(image):
    return torch.round(image * 7) / 7


@pytest.mark.parametrize("shape", [(2, 1, 5, 6), (2, 3, 4, 5, 3)], ids=["2d", "3d"])
def test_by_default_the_gradient_passes_as_if_nothing_were_there(shape):
    image, weight = draw(*shape).requires_grad_(), draw(*shape, seed=1)
    value = BPDA(quantize)(image)
    assert torch.equal(value, quantize(image.detach()))
    (gradient,) = torch.autograd.grad((value * weight).sum(), image)
    assert torch.equal(gradient, weight)
    # the gradient that is there otherwise
    (gradient,) = torch.autograd.grad((quantize(image) * weight).sum(), image)
    assert not bool(gradient.any())


def test_the_gradient_is_the_surrogates():
    image = draw(2, 1, 4, 4).requires_grad_()
    value = BPDA(quantize, surrogate=lambda x: x**3)(image)
    assert torch.equal(value, quantize(image.detach()))
    (gradient,) = torch.autograd.grad(value.square().sum(), image)
    torch.testing.assert_close(gradient, (2 * quantize(image) * 3 * image**2).detach())


def test_the_value_is_exact_where_a_sum_would_round():
    image = torch.tensor([[[[1e8, 3.0]]]], requires_grad=True)
    assert BPDA(lambda x: x * 0 + 0.1)(image).tolist() == torch.full((1, 1, 1, 2), 0.1).tolist()


def test_a_preprocessing_that_works_in_place_or_counts_in_bytes():
    image = draw(1, 1, 3, 3).requires_grad_()
    before = image.detach().clone()
    assert torch.equal(BPDA(lambda x: x.mul_(2))(image), before * 2)
    assert torch.equal(image, before)
    value = BPDA(lambda x: (x * 255).to(torch.uint8))(image)
    assert value.dtype == torch.float64
    assert value.requires_grad


def test_a_transform_of_monai():
    image = draw(1, 2, 8, 8).requires_grad_()
    smooth = MedianSmooth(1)
    value = BPDA(lambda batch: torch.stack([smooth(each) for each in batch]))(image)
    assert not isinstance(value, MetaTensor)
    torch.testing.assert_close(value[0].detach(), smooth(image.detach()[0]).as_tensor().double())  # float32 in MONAI
    (gradient,) = torch.autograd.grad(value.sum(), image)
    assert torch.equal(gradient, torch.ones_like(image))


def test_modules_in_it_are_found_and_shapes_that_differ_refused():
    layer = BPDA(nn.BatchNorm2d(1), surrogate=nn.AvgPool2d(2))
    assert len(list(layer.children())) == 2
    with pytest.raises(ValueError, match="surrogate"):
        layer(torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)))
