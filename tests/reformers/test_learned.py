# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A reformer that learns: what it is trained on, and what it learns."""

import pytest
import torch
from monai.data import MetaTensor
from monai.networks.nets import BasicUNet

from monai_shield.reformers import LearnedReformer, Reformer, ReformerBatch


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


def stripes(number: int, seed: int = 0) -> torch.Tensor:
    """Smooth images of one kind, (B, 1, 16, 16)."""
    phase = 6 * torch.rand(number, 1, 1, 1, generator=torch.Generator().manual_seed(seed))
    return 0.5 + 0.4 * torch.sin(phase + torch.arange(16) / 2).expand(number, 1, 16, 16)


def learned(**settings) -> LearnedReformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LearnedReformer(torch.nn.Conv2d(1, 1, 5, padding=2), learning_rate=0.02, **settings)


def test_noise_is_taken_from_images_that_it_has_not_seen() -> None:
    reformer = learned(noise_std=0.2, epochs=30).fit(MetaTensor(each) for each in stripes(40))
    clean = stripes(20, seed=1)
    noisy = clean + 0.2 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))
    assert float((reformer(noisy) - clean).square().mean()) < 0.5 * float((noisy - clean).square().mean())


def test_training_depends_on_its_seed_and_on_nothing_else() -> None:
    before = torch.get_rng_state()
    one, same, other = (learned(epochs=2, seed=seed).fit(stripes(20)) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.network.weight, same.network.weight)
    assert not torch.equal(one.network.weight, other.network.weight)


def test_a_network_that_no_detector_has() -> None:
    network = BasicUNet(2, 1, 1, features=(4, 4, 4, 4, 4, 4), norm="batch")
    reformed = LearnedReformer(network, epochs=1).fit(stripes(4))(stripes(2))
    assert reformed.shape == (2, 1, 16, 16)


def test_not_trained_it_refuses_to_work() -> None:
    with pytest.raises(RuntimeError, match="not trained: fit it on clean images or load its weights"):
        learned().eval()(stripes(1))
    with pytest.raises(ValueError, match="no images that the reformer could learn from"):
        learned().fit([])


def test_another_shape_is_refused() -> None:
    class Half(Reformer):
        def reform(self, image: torch.Tensor) -> torch.Tensor:
            return image[..., ::2]

    with pytest.raises(ValueError, match=r"changed the shape from \(1, 1, 16, 16\) to \(1, 1, 16, 8\)"):
        Half()(stripes(1))
