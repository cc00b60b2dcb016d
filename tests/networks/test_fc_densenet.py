# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
import torch.nn as nn
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.networks.utils import convert_to_torchscript

from monai_shield.networks import FCDenseNet, FCDenseNet103

# down, bottleneck, up, growth rate, features of the first convolution
COMPACT = [((2,), 3, (1,), 4, 6), ((1, 2), 2, (3, 2), 3, 5), ((1, 2, 3), 1, (2, 1, 2), 2, 4)]

# the other architectures of arXiv 1611.09326
FC_DENSENET_56 = ([4] * 5, 4, [4] * 5, 12)
FC_DENSENET_67 = ([5] * 5, 5, [5] * 5, 16)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def image(spatial_dims: int, channels: int = 1, size: int = 8, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand((2, channels, *[size] * spatial_dims), generator=generator, dtype=dtype)


def compact(spatial_dims: int, dropout: float = 0.2) -> FCDenseNet:
    return FCDenseNet(spatial_dims, 1, 3, (1, 2), 2, (3, 2), growth_rate=3, init_features=5, dropout=dropout)


def expected_count(
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    down: tuple,
    bottleneck: int,
    up: tuple,
    growth: int,
    first: int,
) -> int:
    """Parameters by the paper's arithmetic: a layer normalizes what it is given and convolves it."""

    def convolution(inputs: int, outputs: int, size: int = 3) -> int:
        return inputs * outputs * size**spatial_dims + outputs

    def block(width: int, layers: int) -> int:
        given = [width + growth * layer for layer in range(layers)]
        return sum(2 * inputs + convolution(inputs, growth) for inputs in given)

    total = convolution(in_channels, first)
    skips = [first + growth * sum(down[: stage + 1]) for stage in range(len(down))]
    for before, after, layers in zip([first, *skips], skips, down):
        total += block(before, layers) + 2 * after + convolution(after, after, size=1)
    total += block(skips[-1], bottleneck)
    for layers_before, layers, skip in zip([bottleneck, *up], up, reversed(skips)):
        new = growth * layers_before
        total += convolution(new, new) + block(new + skip, layers)
    last = growth * (([bottleneck, *up])[-2] + up[-1]) + skips[0]
    return total + convolution(last, out_channels, size=1)


@pytest.mark.parametrize(
    ("network", "convolutions"),
    [
        (FCDenseNet103(2, 3, 11), 103),
        (FCDenseNet(2, 3, 11, *FC_DENSENET_67), 67),
        (FCDenseNet(2, 3, 11, *FC_DENSENET_56), 56),
    ],
    ids=["103", "67", "56"],
)
def test_is_named_after_its_convolutions(network: FCDenseNet, convolutions: int):
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    assert sum(isinstance(module, kinds) for module in network.modules()) == convolutions


@pytest.mark.parametrize(
    ("network", "millions"),
    [(FCDenseNet103(2, 3, 11), 9.4), (FCDenseNet(2, 3, 11, *FC_DENSENET_67), 3.5)],
    ids=["103", "67"],
)
def test_published_count_with_running_statistics(network: FCDenseNet, millions: float):
    """The paper's CamVid table; its millions are met when running means and variances are counted too."""
    running = sum(b.numel() for name, b in network.named_buffers() if name.endswith(("running_mean", "running_var")))
    assert round((count(network) + running) / 1e6, 1) == millions


def test_count_of_what_is_trained():
    """9.3 M in the shield's paper's code, 1 channel and 28 classes."""
    assert round(count(FCDenseNet103(2, 1, 28)) / 1e6, 1) == 9.3


def test_published_widths():
    """
    The feature maps m in the architecture table of arXiv 1611.09326.

    It prints 578 where its other rows give 576: 10 * 16 from the transition, 304 from the skip, 7 * 16 new.
    """
    network = FCDenseNet103(2, 3, 11).eval()
    widths: list[int] = []
    blocks = [network.first, *network.down_blocks, network.bottleneck, *network.up_blocks]
    hooks = [b.register_forward_hook(lambda _m, _i, output: widths.append(output.shape[1])) for b in blocks]
    with torch.no_grad():
        network(torch.rand(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    assert widths == [48, 112, 192, 304, 464, 656, 896, 1088, 816, 576, 384, 256]


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize(("down", "bottleneck", "up", "growth", "first"), COMPACT)
def test_count_and_shape(spatial_dims: int, down: tuple, bottleneck: int, up: tuple, growth: int, first: int):
    network = FCDenseNet(spatial_dims, 2, 3, down, bottleneck, up, growth, first).eval()
    assert count(network) == expected_count(spatial_dims, 2, 3, down, bottleneck, up, growth, first)
    sizes = [8, 16, 8][:spatial_dims]
    assert network(torch.rand(1, 2, *sizes)).shape == (1, 3, *sizes)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_dense_block_keeps_what_it_is_given(spatial_dims: int):
    block = compact(spatial_dims).down_blocks[1]
    x = torch.randn((2, 8, *[4] * spatial_dims), generator=torch.Generator().manual_seed(0))
    output = block(x.clone())
    assert output.shape[1] == 8 + 2 * 3
    torch.testing.assert_close(output[:, :8], x, rtol=0, atol=0)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_transition_up_sees_only_new_feature_maps(spatial_dims: int):
    """When the bottleneck makes nothing new, nothing of what came down to it is left in the output."""
    network = compact(spatial_dims).eval()
    into_bottleneck = network.get_parameter("downs.1.0.1.conv.weight")
    x = image(spatial_dims)
    with torch.no_grad():
        output = network(x)
        into_bottleneck.mul_(-2.0)
        assert not torch.allclose(network(x), output)

        for parameter in network.bottleneck.parameters():
            parameter.zero_()
        output = network(x)
        into_bottleneck.mul_(-2.0)
        torch.testing.assert_close(network(x), output, rtol=0, atol=0)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_parameter_receives_gradient(spatial_dims: int):
    network = compact(spatial_dims).double().eval()
    x = image(spatial_dims, dtype=torch.float64).requires_grad_()
    network(x).square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_he_uniform_initialization():
    """He et al. (arXiv 1502.01852), as the paper has it: uniform within sqrt(6 / fan-in)."""
    bound = (6 / (9 * 64)) ** 0.5
    network = FCDenseNet(2, 1, 1, (1,), 1, (1,), growth_rate=16, init_features=64)
    weight = network.get_parameter("down_blocks.0.layers0.1.conv.weight")
    assert 0.99 * bound < weight.abs().max().item() <= bound


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_dropout_acts_in_training_only(spatial_dims: int):
    x = image(spatial_dims)
    network = compact(spatial_dims).train()
    assert not torch.allclose(network(x), network(x))
    network.eval()
    torch.testing.assert_close(network(x), network(x), rtol=0, atol=0)
    without = compact(spatial_dims, dropout=0.0).train()
    torch.testing.assert_close(without(x), without(x), rtol=0, atol=0)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_eval_does_not_depend_on_batch_mates(spatial_dims: int):
    network = compact(spatial_dims).double().eval()
    x = image(spatial_dims, dtype=torch.float64)
    torch.testing.assert_close(torch.cat([network(x[:1]), network(x[1:])]), network(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("use_trace", [False, True])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_torchscript_agrees(spatial_dims: int, use_trace: bool):
    network = compact(spatial_dims)
    x = image(spatial_dims)
    scripted = convert_to_torchscript(
        network, inputs=[x], verify=True, atol=1e-6, use_trace=use_trace, device=torch.device("cpu")
    )
    larger = image(spatial_dims, size=12)
    torch.testing.assert_close(scripted(larger), network(larger))


def test_metatensor_and_bfloat16():
    network = compact(2).eval()
    affine = torch.diag(torch.tensor([2.0, 3.0, 1.0, 1.0], dtype=torch.float64))
    output = network(MetaTensor(image(2), affine=affine))
    assert isinstance(output, MetaTensor)
    torch.testing.assert_close(output.affine, affine)
    assert network.bfloat16()(image(2).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 8, 6), r"spatial size \[8, 6\] must be a positive multiple of 4"),
        ((1, 8, 8), "expected batch, channel and 2 spatial dimensions"),
        ((1, 1, 8, 8, 8), "expected batch, channel and 2 spatial dimensions"),
    ],
)
def test_refuses_an_image_that_does_not_fit(shape: tuple, message: str):
    with pytest.raises(ValueError, match=message):
        compact(2)(torch.zeros(shape))


def test_five_poolings_need_a_multiple_of_32():
    with pytest.raises(ValueError, match=r"spatial size \[48, 48\] must be a positive multiple of 32"):
        FCDenseNet103(2, 1, 2)(torch.zeros(1, 1, 48, 48))


@pytest.mark.parametrize(
    ("down", "bottleneck", "up", "message"),
    [
        ((1, 2), 2, (1,), "as many blocks up as down"),
        ((), 2, (), "as many blocks up as down"),
        ((1, 2), 0, (1, 1), "every block needs a layer"),
        ((1, 0), 2, (1, 1), "every block needs a layer"),
    ],
)
def test_refuses_settings(down: tuple, bottleneck: int, up: tuple, message: str):
    with pytest.raises(ValueError, match=message):
        FCDenseNet(2, 1, 3, down, bottleneck, up)


def test_from_a_config():
    config = {
        "compact": {
            "_target_": "monai_shield.networks.FCDenseNet",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 3,
            "down_layers": [1, 2],
            "bottleneck_layers": 2,
            "up_layers": [2, 1],
            "growth_rate": 3,
            "init_features": 4,
            "dropout": 0.1,
        },
        "named": {
            "_target_": "monai_shield.networks.FCDenseNet103",
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": 28,
        },
    }
    parser = ConfigParser(config)
    assert parser.get_parsed_content("compact").eval()(image(3)).shape == (2, 3, 8, 8, 8)
    assert isinstance(parser.get_parsed_content("named"), FCDenseNet103)
