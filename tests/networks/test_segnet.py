# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.networks.utils import convert_to_torchscript

from monai_shield.networks import SegNet
from monai_shield.networks.segnet import max_unpool

# torchvision's published count of VGG16 with batch normalization, less its three fully connected layers
VGG16_BN_FEATURES = 138_365_992 - (25_088 * 4096 + 4096) - (4096 * 4096 + 4096) - (4096 * 1000 + 1000)

# features, convolutions per stage
COMPACT = [((4,), (1,)), ((4, 6), (2, 1)), ((3, 5, 4), (1, 2, 3))]


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def image(spatial_dims: int, channels: int = 1, size: int = 8, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand((2, channels, *[size] * spatial_dims), generator=generator, dtype=dtype)


def only_maxima(x: torch.Tensor, window: int) -> torch.Tensor:
    """The image where it is the maximum of its window, zero elsewhere, found without indices."""
    pool = {2: F.max_pool2d, 3: F.max_pool3d}[x.ndim - 2]
    return x * (x == F.interpolate(pool(x, window), scale_factor=window, mode="nearest"))


def test_encoder_is_vgg16_bn():
    assert count(SegNet(2, 3, 11).encoder) == VGG16_BN_FEATURES


def test_published_parameter_count():
    """29.5 M in the code of the shield's paper, 1 channel and 28 classes."""
    assert round(count(SegNet(2, 1, 28)) / 1e6, 1) == 29.5


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize(("features", "convs"), COMPACT)
def test_shape_over_channels_and_sizes(spatial_dims: int, features: tuple, convs: tuple):
    network = SegNet(spatial_dims, 2, 3, features, convs).eval()
    sizes = [8, 16, 8][:spatial_dims]
    assert network(torch.rand(1, 2, *sizes)).shape == (1, 3, *sizes)


@pytest.mark.parametrize(("features", "convs"), COMPACT)
def test_number_of_convolutions(features: tuple, convs: tuple):
    """The decoder mirrors the encoder."""
    network = SegNet(2, 1, 3, features, convs)
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == 2 * sum(convs)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_unpooling_puts_maxima_back(spatial_dims: int):
    x = image(spatial_dims, channels=3) - 0.5
    pool = {2: F.max_pool2d, 3: F.max_pool3d}[spatial_dims]
    pooled, indices = pool(x, 2, return_indices=True)
    torch.testing.assert_close(max_unpool(pooled, indices), only_maxima(x, 2), rtol=0, atol=0)
    torch_unpool = {2: nn.MaxUnpool2d, 3: nn.MaxUnpool3d}[spatial_dims](2)
    torch.testing.assert_close(max_unpool(pooled, indices), torch_unpool(pooled, indices), rtol=0, atol=0)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_identity_convolutions_leave_the_maxima_in_place(spatial_dims: int, depth: int):
    """With convolutions that do nothing, what is left of an image is its maximum in each window of 2**depth."""
    network = SegNet(spatial_dims, 1, 1, [1] * depth, [2] * depth, act=None, norm=None)
    for parameter in network.parameters():
        (nn.init.dirac_ if parameter.ndim > 1 else nn.init.zeros_)(parameter)
    x = image(spatial_dims)
    torch.testing.assert_close(network(x), only_maxima(x, 2**depth), rtol=0, atol=0)


def test_he_initialization():
    """He et al. (arXiv 1502.01852): variance 2 / fan-in."""
    weight = SegNet(2, 1, 1, (64,), (2,)).get_parameter("encoder.0.1.conv.weight")
    assert weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_parameter_receives_gradient(spatial_dims: int):
    network = SegNet(spatial_dims, 1, 3, (4, 6), (2, 1)).double().eval()
    x = image(spatial_dims, dtype=torch.float64).requires_grad_()
    network(x).square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_gradient_is_the_derivative(spatial_dims: int):
    network = SegNet(spatial_dims, 1, 1, (2,), (1,)).double().eval()
    x = image(spatial_dims, size=2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(network, (x,))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_eval_does_not_depend_on_batch_mates_or_repetition(spatial_dims: int):
    network = SegNet(spatial_dims, 1, 3, (4, 6), (2, 1)).double().eval()
    x = image(spatial_dims, dtype=torch.float64)
    together = network(x)
    torch.testing.assert_close(network(x), together, rtol=0, atol=0)
    torch.testing.assert_close(torch.cat([network(x[:1]), network(x[1:])]), together, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("use_trace", [False, True])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_torchscript_agrees(spatial_dims: int, use_trace: bool):
    network = SegNet(spatial_dims, 1, 3, (4, 6), (2, 1))
    x = image(spatial_dims)
    scripted = convert_to_torchscript(
        network, inputs=[x], verify=True, atol=1e-6, use_trace=use_trace, device=torch.device("cpu")
    )
    larger = image(spatial_dims, size=12)
    torch.testing.assert_close(scripted(larger), network(larger))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_scripted_network_refuses_a_size_too(spatial_dims: int):
    scripted = torch.jit.script(SegNet(spatial_dims, 1, 3, (4, 6), (2, 1)))
    with pytest.raises(torch.jit.Error, match="must be a positive multiple of 4"):
        scripted(image(spatial_dims, size=6))


def test_metatensor_and_bfloat16():
    network = SegNet(2, 1, 3, (4, 6), (2, 1)).eval()
    affine = torch.diag(torch.tensor([2.0, 3.0, 1.0, 1.0], dtype=torch.float64))
    output = network(MetaTensor(image(2), affine=affine))
    assert isinstance(output, MetaTensor)
    torch.testing.assert_close(output.affine, affine)
    assert network.bfloat16()(image(2).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 8, 6), r"spatial size \[8, 6\] must be a positive multiple of 4"),
        ((1, 1, 0, 8), r"spatial size \[0, 8\] must be a positive multiple of 4"),
        ((1, 8, 8), "expected batch, channel and 2 spatial dimensions"),
        ((1, 1, 8, 8, 8), "expected batch, channel and 2 spatial dimensions"),
    ],
)
def test_refuses_an_image_that_does_not_fit(shape: tuple, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        SegNet(2, 1, 3, (4, 6), (2, 1))(torch.zeros(shape))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spatial_dims": 1}, "spatial_dims"),
        ({"features": (4, 6), "convs_per_stage": (2,)}, "per stage"),
        ({"features": (), "convs_per_stage": ()}, "per stage"),
        ({"features": (4,), "convs_per_stage": (0,)}, "per stage"),
    ],
)
def test_refuses_settings(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        SegNet(**{"spatial_dims": 2, "in_channels": 1, "out_channels": 3, **settings})


def test_from_a_config():
    config = {
        "network": {
            "_target_": "monai_shield.networks.SegNet",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 3,
            "features": [4, 6],
            "convs_per_stage": [2, 1],
        }
    }
    network = ConfigParser(config).get_parsed_content("network")
    assert isinstance(network, SegNet)
    assert network(image(3)).shape == (2, 3, 8, 8, 8)
