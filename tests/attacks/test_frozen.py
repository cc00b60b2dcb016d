# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from monai.networks.nets import BasicUNet, UNet
from torch import nn

from monai_shield.attacks import PGD, FrozenNetwork
from monai_shield.networks import FCDenseNet, SegNet


def lively(network, seed=0):
    """The network with normalizations that do something."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            for tensor, low in (
                (module.weight, 0.5),
                (module.bias, -1),
                (module.running_mean, -1),
                (module.running_var, 0.5),
            ):
                tensor.data = low + torch.rand(tensor.shape, generator=generator).to(tensor)
    return network.double()


NETWORKS = {
    "basic_unet_2d": (lambda: BasicUNet(2, 1, 3, features=(4, 4, 8, 8, 8, 4), norm="batch"), (2, 1, 32, 32), 0),
    "basic_unet_3d": (lambda: BasicUNet(3, 2, 3, features=(4, 4, 8, 8, 8, 4), norm="batch"), (1, 2, 16, 16, 16), 0),
    "basic_unet_instance": (lambda: BasicUNet(2, 1, 3, features=(4, 4, 8, 8, 8, 4)), (2, 1, 32, 32), 0),
    "unet_2d": (lambda: UNet(2, 1, 3, (4, 8, 8), (2, 2), num_res_units=1, norm="batch"), (2, 1, 16, 16), 0),
    "unet_3d": (lambda: UNet(3, 1, 3, (4, 8, 8), (2, 2), norm="batch"), (1, 1, 8, 8, 8), 0),
    "segnet": (lambda: SegNet(2, 1, 3, features=(4, 4, 4, 4, 4)), (1, 1, 32, 32), None),
    "fc_densenet": (
        lambda: FCDenseNet(2, 1, 3, (1, 2), 2, (3, 2), growth_rate=3, init_features=5),
        (1, 1, 32, 32),
        None,
    ),
}


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_it_computes_the_same(name):
    make, shape, left = NETWORKS[name]
    network = lively(make()).eval()
    frozen = FrozenNetwork(network)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values, gradients = [], []
    for each in (network, frozen):
        x = image.clone().requires_grad_()
        logits = each(x)
        (gradient,) = torch.autograd.grad(logits.square().mean(), x)
        values.append(logits.detach())
        gradients.append(gradient)
    torch.testing.assert_close(values[0], values[1], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-12)
    norms = sum(isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d) for module in frozen.modules())
    if left is not None:
        assert norms == left


def test_an_attack_on_it_is_an_attack_on_the_network():
    make, shape, _ = NETWORKS["basic_unet_2d"]
    network = lively(make()).eval()
    image = torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    attack = PGD(0.1, max_steps=5)
    torch.testing.assert_close(attack(FrozenNetwork(network), image).image, attack(network, image).image)


def test_the_network_is_left_as_it_is():
    network = lively(NETWORKS["basic_unet_2d"][0]()).train()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    frozen = FrozenNetwork(network)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert not frozen.network.training
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    image = torch.rand(2, 1, 32, 32, dtype=torch.float64)
    assert frozen(image).std() > 0  # a copy does not follow


def test_a_normalization_that_does_not_follow_its_convolution_stays():
    class Row(nn.Sequential):
        def forward(self, image):
            return self[1](self[0](image) ** 2)

    plain = lively(
        nn.Sequential(Row(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3)), nn.ReLU(), nn.BatchNorm2d(3))
    ).eval()
    without = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)).double().eval()
    image = torch.rand(2, 1, 6, 5, dtype=torch.float64)
    for network in (plain, without):
        torch.testing.assert_close(FrozenNetwork(network)(image), network(image))


@pytest.mark.parametrize(
    ("network", "last"),
    [
        (nn.Conv2d(4, 3, 3), True),
        (nn.Sequential(nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3)), True),
        (nn.Sequential(nn.Conv2d(4, 3, 3), nn.InstanceNorm2d(3)), False),
        (nn.Sequential(nn.Conv2d(4, 3, 3), nn.GroupNorm(1, 3)), False),
        (nn.Conv3d(4, 3, 3), False),
    ],
)
def test_weights_lie_channels_last_where_that_suits(network, last):
    def lies_last(frozen):
        weight = next(frozen.parameters())
        return weight.is_contiguous(memory_format=torch.channels_last if weight.ndim == 4 else torch.channels_last_3d)

    assert lies_last(FrozenNetwork(network)) == last
    assert lies_last(FrozenNetwork(network, channels_last=True))
    assert not lies_last(FrozenNetwork(network, channels_last=False))
