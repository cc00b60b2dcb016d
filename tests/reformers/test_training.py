# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a reformer is trained on."""

from __future__ import annotations

import pytest
import torch

from monai_shield.reformers import ReformerBatch


@pytest.mark.parametrize("size", [(8, 8), (4, 6, 8)], ids=["2D", "3D"])
def test_the_label_is_the_clean_image(size: tuple[int, ...]) -> None:
    image = torch.rand(2, 1, *size)
    given, wanted = ReformerBatch()({"image": image}, "cpu")
    assert given is wanted
    given, wanted = ReformerBatch(noise_std=0.1)({"image": image}, "cpu")
    assert torch.equal(wanted, image)
    assert float((given - image).std()) == pytest.approx(0.1, rel=0.3)


def test_noise_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    ReformerBatch(noise_std=0.1)({"image": torch.rand(1, 1, 4, 4, generator=torch.Generator())}, "cpu")
    assert torch.equal(before, torch.get_rng_state())


def test_negative_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        ReformerBatch(noise_std=-1.0)
