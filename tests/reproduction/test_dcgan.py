# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A generator and its critic, put together from MONAI's networks."""

from __future__ import annotations

import pytest
import torch

from reproduction.dcgan import dcgan_critic, dcgan_generator


@pytest.mark.parametrize("channels", [(8, 4, 4, 4), (128, 64, 32, 16)])
def test_a_generator_makes_images_of_64_pixels_between_0_and_1(channels):
    images = dcgan_generator(10, channels)(torch.randn(2, 10))
    assert images.shape == (2, 1, 64, 64)
    assert float(images.min()) > 0
    assert float(images.max()) < 1


def test_a_critic_judges_each_image_by_itself():
    critic, images = dcgan_critic((4, 8, 8, 8)).double(), torch.rand(3, 1, 64, 64, dtype=torch.float64)
    together = critic(images)
    assert together.shape == (3, 1)
    torch.testing.assert_close(together, torch.cat([critic(image[None]) for image in images]))


def test_their_sizes_are_those_of_the_study():
    sizes = [sum(p.numel() for p in net.parameters()) for net in (dcgan_generator(64), dcgan_critic())]
    assert all(5e4 < size < 1e6 for size in sizes)
