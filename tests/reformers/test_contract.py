# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What holds for every reformer of the list, in 2D and 3D."""

import pytest
import torch
from monai.data import MetaTensor

from monai_shield.attacks import BPDA
from monai_shield.detectors import Calibration, ZeroShare
from monai_shield.inferers import ShieldInferer
from monai_shield.info import Info
from monai_shield.reformers import REFORMERS, Reformer

SIZES = [(8, 12), (6, 8, 10)]
CASES = [(kind, size) for kind in REFORMERS for size in SIZES]
pytestmark = pytest.mark.parametrize(
    ("kind", "size"), CASES, ids=[f"{kind.__name__}-{len(size)}D" for kind, size in CASES]
)


def images(size: tuple[int, ...], number: int = 3) -> torch.Tensor:
    return torch.rand(number, 1, *size, generator=torch.Generator().manual_seed(0))


def fitted(kind: type[Reformer], size: tuple[int, ...]) -> Reformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind.example(len(size)).fit(images(size, 12)).eval()


def test_says_where_it_comes_from(kind: type[Reformer], size: tuple[int, ...]) -> None:
    assert isinstance(kind.info, Info)
    assert kind.info.name
    assert kind.info.paper


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_keeps_shape_type_and_meta_data_and_leaves_the_image_alone(
    kind: type[Reformer], size: tuple[int, ...], dtype: torch.dtype
) -> None:
    reformer = fitted(kind, size).to(dtype)
    image = MetaTensor(images(size).to(dtype), meta={"name": "here"})
    before = image.clone()
    reformed = reformer(image)
    assert isinstance(reformed, MetaTensor)
    assert (reformed.shape, reformed.dtype, reformed.meta["name"]) == (image.shape, dtype, "here")
    assert torch.equal(image, before)
    plain = reformer(image.as_tensor())
    assert type(plain) is torch.Tensor
    assert torch.equal(plain, reformed.as_tensor())
    assert bool((plain != before).any())


@torch.no_grad()
def test_is_deterministic_and_no_image_depends_on_its_batch(kind: type[Reformer], size: tuple[int, ...]) -> None:
    reformer, batch = fitted(kind, size), images(size)
    reformed = reformer(batch)
    assert torch.equal(reformed, reformer(batch))
    assert torch.equal(reformed, fitted(kind, size)(batch))
    torch.testing.assert_close(torch.cat([reformer(each[None]) for each in batch]), reformed)


def test_what_is_learned_stays_and_travels_with_the_weights(
    kind: type[Reformer], size: tuple[int, ...], tmp_path
) -> None:
    reformer, batch = fitted(kind, size), images(size)
    reformed = reformer(batch)
    assert torch.equal(reformer.fit(images(size, 12) * 2)(batch), reformed)
    torch.save(reformer.state_dict(), tmp_path / "reformer.pt")
    again = kind.example(len(size)).eval()
    again.load_state_dict(torch.load(tmp_path / "reformer.pt", weights_only=True))
    assert torch.equal(again(batch), reformed)


def test_a_gradient_passes_or_bpda_goes_around(kind: type[Reformer], size: tuple[int, ...]) -> None:
    reformer, image = fitted(kind, size), images(size).requires_grad_()
    (gradient,) = torch.autograd.grad(reformer(image).square().sum(), image)
    assert bool(gradient.any()) == kind.differentiable
    (around,) = torch.autograd.grad(BPDA(reformer)(image).square().sum(), image)
    assert bool(around.any())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_works_where_the_image_is(kind: type[Reformer], size: tuple[int, ...]) -> None:
    reformer, image = fitted(kind, size), images(size)
    there = reformer.to("cuda")(image.cuda())
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), reformer.to("cpu")(image), atol=1e-3, rtol=1e-3)


def test_reforms_in_a_shield(kind: type[Reformer], size: tuple[int, ...]) -> None:
    detector, reformer, image = ZeroShare(), fitted(kind, size), images(size)
    detector.calibration = Calibration.fit(torch.linspace(0.5, 2, 40))
    logits = ShieldInferer(detector, reformer)(image, torch.nn.Identity())
    assert torch.equal(logits.as_tensor(), reformer(image))
