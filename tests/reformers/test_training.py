# Copyright (c) The monai-shield authors.
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
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
