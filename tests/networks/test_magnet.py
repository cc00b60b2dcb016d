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

from monai_shield.networks import MagNetAutoencoderI, MagNetAutoencoderII

BOTH = [MagNetAutoencoderI, MagNetAutoencoderII]


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def image(spatial_dims: int, channels: int = 1, size: int = 8, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand((2, channels, *[size] * spatial_dims), generator=generator, dtype=dtype)


def identity(kind: type[nn.Module], spatial_dims: int) -> nn.Module:
    """An autoencoder of which every convolution does nothing."""
    network = kind(spatial_dims, 1, features=1, act=None, last_act=None)
    for parameter in network.parameters():
        (nn.init.dirac_ if parameter.ndim > 1 else nn.init.zeros_)(parameter)
    return network


@pytest.mark.parametrize(("kind", "published"), [(MagNetAutoencoderI, 310), (MagNetAutoencoderII, 142)])
def test_published_parameter_count(kind: type[nn.Module], published: int):
    assert count(kind(2, 1)) == published


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("in_channels", [1, 2])
@pytest.mark.parametrize("features", [3, 5])
@pytest.mark.parametrize(("kind", "hidden"), [(MagNetAutoencoderI, 3), (MagNetAutoencoderII, 1)])
def test_count_and_shape(kind: type[nn.Module], hidden: int, spatial_dims: int, in_channels: int, features: int):
    network = kind(spatial_dims, in_channels, features=features)
    taps = 3**spatial_dims
    ends = in_channels * features * taps * 2 + features + in_channels
    assert count(network) == ends + hidden * (features * features * taps + features)
    sizes = [8, 6, 4][:spatial_dims]
    assert network(torch.rand(1, in_channels, *sizes)).shape == (1, in_channels, *sizes)


@pytest.mark.parametrize("kind", BOTH)
def test_out_channels(kind: type[nn.Module]):
    assert kind(2, 1, 2)(image(2)).shape == (2, 2, 8, 8)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_identity_convolutions_leave_window_means(spatial_dims: int):
    """Autoencoder I then is the mean of each window of 2, autoencoder II the image itself."""
    x = image(spatial_dims)
    windows = x.clone()
    for axis in range(2, 2 + spatial_dims):
        windows = (windows.unflatten(axis, (-1, 2)).mean(axis + 1)).repeat_interleave(2, axis)
    torch.testing.assert_close(identity(MagNetAutoencoderI, spatial_dims)(x), windows)
    torch.testing.assert_close(identity(MagNetAutoencoderII, spatial_dims)(x), x, rtol=0, atol=0)


@pytest.mark.parametrize("kind", BOTH)
def test_last_activation(kind: type[nn.Module]):
    """A sigmoid by default, so that the reconstruction lies within (0, 1); without one it is its logit."""
    bounded, unbounded = kind(2, 1), kind(2, 1, last_act=None)
    unbounded.load_state_dict(bounded.state_dict())
    x = image(2)
    torch.testing.assert_close(bounded(x), unbounded(x).sigmoid())
    assert bounded(100 * x).min() > 0
    assert bounded(100 * x).max() < 1


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_parameter_receives_gradient(kind: type[nn.Module], spatial_dims: int):
    network = kind(spatial_dims, 1).double()
    x = image(spatial_dims, dtype=torch.float64)
    F.mse_loss(network(x), x).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_does_not_depend_on_mode_batch_mates_or_repetition(kind: type[nn.Module], spatial_dims: int):
    network = kind(spatial_dims, 1).double()
    x = image(spatial_dims, dtype=torch.float64)
    together = network.train()(x)
    torch.testing.assert_close(network.eval()(x), together, rtol=0, atol=0)
    torch.testing.assert_close(torch.cat([network(x[:1]), network(x[1:])]), together, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("use_trace", [False, True])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_torchscript_agrees(kind: type[nn.Module], spatial_dims: int, use_trace: bool):
    network = kind(spatial_dims, 1)
    scripted = convert_to_torchscript(
        network, inputs=[image(spatial_dims)], verify=True, atol=1e-6, use_trace=use_trace, device=torch.device("cpu")
    )
    larger = image(spatial_dims, size=12)
    torch.testing.assert_close(scripted(larger), network(larger))


@pytest.mark.parametrize("kind", BOTH)
def test_metatensor_and_bfloat16(kind: type[nn.Module]):
    network = kind(2, 1)
    affine = torch.diag(torch.tensor([2.0, 3.0, 1.0, 1.0], dtype=torch.float64))
    output = network(MetaTensor(image(2), affine=affine))
    assert isinstance(output, MetaTensor)
    torch.testing.assert_close(output.affine, affine)
    assert network.bfloat16()(image(2).bfloat16()).dtype == torch.bfloat16


def test_refuses_an_odd_size():
    with pytest.raises(ValueError, match=r"spatial size \[8, 7\] must be a positive multiple of 2"):
        MagNetAutoencoderI(2, 1)(torch.zeros(1, 1, 8, 7))
    assert MagNetAutoencoderII(2, 1)(torch.zeros(1, 1, 8, 7)).shape == (1, 1, 8, 7)


@pytest.mark.parametrize("kind", BOTH)
def test_refuses_dimensions_and_an_empty_image(kind: type[nn.Module]):
    """A 2D batch of one channel must not pass for a single volume."""
    with pytest.raises(ValueError, match="expected batch, channel and 3 spatial dimensions"):
        kind(3, 1)(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match="must be a positive multiple"):
        kind(2, 1)(torch.zeros(1, 1, 0, 8))


@pytest.mark.parametrize("name", ["MagNetAutoencoderI", "MagNetAutoencoderII"])
def test_from_a_config(name: str):
    config = {"network": {"_target_": f"monai_shield.networks.{name}", "spatial_dims": 2, "in_channels": 1}}
    assert ConfigParser(config).get_parsed_content("network")(image(2)).shape == (2, 1, 8, 8)
