# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The peers, each a fixture that skips where it is not installed, and the small segmenters they are compared on."""

import importlib
import os
import runpy
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

IMPORTS = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "peers.py"))


def peer(load, *arguments):
    """What ``load`` imports; without it the test is skipped, or fails where SHIELD_PEERS=1 says that peers are here."""
    try:
        return load(*arguments)
    except ModuleNotFoundError as error:
        if os.environ.get("SHIELD_PEERS") == "1":
            raise
        pytest.skip(f"{error}: make peers installs the peers in an environment of their own")


@pytest.fixture(scope="session")
def adv_lib():
    """The module ``adv_lib.attacks.segmentation``."""
    return peer(IMPORTS["adv_lib_segmentation"])


@pytest.fixture(scope="session")
def torchattacks():
    """The package torchattacks."""
    return peer(importlib.import_module, "torchattacks")


@pytest.fixture(scope="session")
def cleverhans_pgd():
    """cleverhans' function ``projected_gradient_descent``."""
    return peer(importlib.import_module, "cleverhans.torch.attacks.projected_gradient_descent").__dict__[
        "projected_gradient_descent"
    ]


@pytest.fixture(scope="session")
def cospgd():
    """The functions of the package cospgd."""
    return peer(importlib.import_module, "cospgd").functions


@pytest.fixture(scope="session")
def segmenter():
    """Makes a small network in evaluation mode, ``segmenter(dims, classes, dtype=float32, seed=0)``; one channel in."""

    def make(dims, classes, dtype=torch.float32, seed=0):
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = nn.Sequential(
                conv(1, 12, 3, padding=1), nn.Tanh(), conv(12, 12, 3, padding=1), nn.Tanh(), conv(12, classes, 1)
            )
            for parameter in network.parameters():
                parameter.data.mul_(2)  # far enough from linear that the gradient turns from step to step
            logits = network(torch.rand(4, 1, *[8] * dims)).detach()
        network[-1].bias.data -= logits.transpose(0, 1).flatten(1).mean(1)  # every class comes up
        return network.to(dtype).eval()

    return make


@pytest.fixture(scope="session")
def images():
    """Images (4,1,16,16) or (4,1,8,8,8), ``images(dims, low=0.0, high=1.0, dtype=float32)``, drawn from [low, high].

    The number of images and of pixels is a power of two, so that a mean over the batch and a mean over each image have
    gradients of the same digits.
    """

    def make(dims, low=0.0, high=1.0, dtype=torch.float32):
        shape = (4, 1, 16, 16) if dims == 2 else (4, 1, 8, 8, 8)
        return torch.empty(shape, dtype=dtype).uniform_(low, high, generator=torch.Generator().manual_seed(1))

    return make


@pytest.fixture(scope="session")
def record():
    """Within ``with record(network) as seen`` every batch the network gets is appended to the list."""

    @contextmanager
    def recording(network):
        seen = []
        handle = network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
        try:
            yield seen
        finally:
            handle.remove()

    return recording
