# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a network that sees its input rearranged has in common with one that does not."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import BasicUNet
from torch import nn

from monai_shield.detectors import ReconstructionDetector, Views
from monai_shield.networks import MagNetAutoencoderI
from reproduction.rearranged import RolledNetwork, ShuffledNetwork, circular_padding

SIZES = [(16, 24), (8, 12, 16)]
IDS = ["2D", "3D"]


def images(size: tuple[int, ...], batch: int = 3, channels: int = 1) -> torch.Tensor:
    return torch.rand(batch, channels, *size, generator=torch.Generator().manual_seed(0))


def conv(dims: int, kernel_size: int = 3, channels: int = 1) -> nn.Module:
    kind = nn.Conv2d if dims == 2 else nn.Conv3d
    return kind(channels, channels, kernel_size, padding=kernel_size // 2)


def unet(dims: int) -> nn.Module:
    return BasicUNet(dims, 1, 1, features=(4, 4, 8, 8, 8, 4), norm="batch").eval()


def score(domain: str, network: nn.Module, size: tuple[int, ...]) -> torch.Tensor:
    detector = ReconstructionDetector(network, domain, size).fit([Views(images(size, 9) + 0.1)])  # type: ignore[arg-type]
    with torch.no_grad():
        return detector(Views(images(size)))


@pytest.mark.parametrize("size", [*SIZES, (9, 15)], ids=[*IDS, "odd"])
def test_rolled_by_half_a_frequency_detector_is_the_shifted_one(size: tuple[int, ...]) -> None:
    network = conv(len(size))
    rolled = RolledNetwork(network, [length // 2 for length in size])
    torch.testing.assert_close(score("frequency", rolled, size), score("shifted_frequency", network, size))
    # with zero padding the border tells one from the other
    assert not torch.allclose(score("frequency", network, size), score("shifted_frequency", network, size))


@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_without_a_shift_it_is_the_network_itself(size: tuple[int, ...]) -> None:
    network = conv(len(size))
    assert torch.equal(RolledNetwork(network, [0] * len(size))(images(size)), network(images(size)))
    assert torch.equal(RolledNetwork(network, size)(images(size)), network(images(size)))


@pytest.mark.parametrize("dims", [2, 3])
def test_with_circular_padding_no_roll_by_whole_strides_makes_a_difference(dims: int) -> None:
    size = (32, 64) if dims == 2 else (32, 32, 32)
    image = images(size, 2)
    network = unet(dims)  # halves its input four times
    with torch.no_grad():
        plain = network(image)
        assert not torch.allclose(RolledNetwork(network, [16] * dims)(image), plain, atol=1e-4)
        assert circular_padding(network) is network
        periodic = network(image)
        assert not torch.allclose(periodic, plain, atol=1e-4)
        torch.testing.assert_close(RolledNetwork(network, [16] * dims)(image), periodic, atol=1e-5, rtol=1e-5)
        # five pixels are off the pooling grid
        assert not torch.allclose(RolledNetwork(network, [5] * dims)(image), periodic, atol=1e-4)


@pytest.mark.parametrize("network", [lambda: unet(2), lambda: MagNetAutoencoderI(2, 1)], ids=["UNet", "AE I"])
def test_with_circular_padding_the_shift_changes_no_score(network) -> None:
    torch.manual_seed(0)
    made, size = network(), (32, 32)
    assert not torch.allclose(score("frequency", made, size), score("shifted_frequency", made, size), rtol=1e-5)
    circular_padding(made)
    torch.testing.assert_close(score("frequency", made, size), score("shifted_frequency", made, size))


@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_shuffling_is_nothing_to_a_network_that_sees_no_neighbors(size: tuple[int, ...]) -> None:
    image, dims = images(size, channels=2), len(size)
    pointwise, wide = conv(dims, 1, 2), conv(dims, 3, 2)
    torch.testing.assert_close(ShuffledNetwork(pointwise)(image), pointwise(image))
    assert torch.equal(ShuffledNetwork(nn.Identity(), seed=3)(image), image)
    shuffled = ShuffledNetwork(wide)(image)
    assert shuffled.shape == image.shape
    assert not torch.allclose(shuffled, wide(image))
    assert torch.equal(ShuffledNetwork(wide)(image), shuffled)
    assert not torch.allclose(ShuffledNetwork(wide, seed=1)(image), shuffled)


def test_a_shuffled_network_sees_each_image_in_the_same_random_order() -> None:
    class Seen(nn.Identity):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            self.image = image
            return image

    places = torch.arange(144.0).reshape(1, 1, 12, 12)
    network = Seen()
    ShuffledNetwork(network)(torch.cat([places, places]))
    first, second = network.image
    assert torch.equal(first, second)
    assert torch.equal(first.flatten().sort().values, torch.arange(144.0))
    # of neighbors in the image few are neighbors still
    neighbors = (first.diff(dim=2).abs() == 1).float().mean()
    assert float(neighbors) < 0.1


@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_the_number_of_channels_may_change(size: tuple[int, ...]) -> None:
    kind = nn.Conv2d if len(size) == 2 else nn.Conv3d
    network = kind(1, 4, 1)
    expected = network(images(size))
    torch.testing.assert_close(ShuffledNetwork(network)(images(size)), expected)
    torch.testing.assert_close(RolledNetwork(network, [3] * len(size))(images(size)), expected)


def test_weights_are_those_of_the_network() -> None:
    network = conv(2)
    for wrapped in (RolledNetwork(network, (4, 4)), ShuffledNetwork(network)):
        assert next(iter(wrapped.parameters())) is network.weight
    assert "shifts=(4, 4)" in repr(RolledNetwork(network, [4, 4]))
    assert "seed=7" in repr(ShuffledNetwork(network, 7))


@pytest.mark.parametrize(("shifts", "size"), [((4,), (8, 8)), ((4, 4, 4), (8, 8)), ((4, 4), (8, 8, 8))])
def test_a_shift_for_each_axis_is_needed(shifts: tuple[int, ...], size: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shifts \(4,.*for an image of shape \(3, 1, 8, 8"):
        RolledNetwork(nn.Identity(), shifts)(images(size))
