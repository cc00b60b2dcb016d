# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What the contract tests of the attacks share: every attack with every example of its class, and what it is run on."""

import pytest
import torch
from torch import nn

from monai_shield.attacks import ATTACKS

CASES = [(name, settings) for name, attack in sorted(ATTACKS.items()) for settings in attack.examples]
SHAPES = [(4, 1, 9, 8), (3, 2, 6, 5, 4)]
CLASSES = 4

every_attack = pytest.mark.parametrize(
    ("name", "settings"), CASES, ids=[f"{name}-{number}" for number, (name, _) in enumerate(CASES)]
)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])


class Network(nn.Module):
    """A small segmenter with all that training mode would wake: batch statistics and dropout."""

    def __init__(self, dims, channels):
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
        self.features = nn.Sequential(conv(channels, 6, 3, padding=1), norm(6), nn.Tanh(), nn.Dropout(0.5))
        self.head = conv(6, CLASSES, 1)

    def forward(self, image):
        return self.head(self.features(image))


class Rescaled(nn.Module):
    """Undoes x -> scale · x + shift."""

    def __init__(self, scale, shift):
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, image):
        return (image - self.shift) / self.scale


def make_network(shape, dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Network(len(shape) - 2, shape[1]).to(dtype)


def make_image(shape, dtype=torch.float64, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def make(name, settings, network, image, **more):
    """The attack of that name, ready for such images before that network."""
    return ATTACKS[name].example(network, image, **{**settings, **more})
