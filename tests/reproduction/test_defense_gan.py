# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The search finds the nearest image of a generator, where mathematics says which that is."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from reproduction.defense_gan import DefenseGAN, resample


class LinearGenerator(nn.Module):
    """G(z) = A z + b, images of 4 x 4, optionally through a function of each value."""

    def __init__(self, latent: int = 3, function: nn.Module | None = None) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        directions = torch.linalg.qr(torch.randn(16, latent, generator=generator))[0]
        self.matrix = nn.Parameter(2 * directions * torch.linspace(0.6, 1.0, latent))
        self.bias = nn.Parameter(torch.randn(16, generator=generator) / 4)
        self.function = nn.Identity() if function is None else function

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        return self.function(latent @ self.matrix.T + self.bias).view(-1, 1, 4, 4)


class Sine(nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.sin(6 * values)


def images(batch: int = 3, size: int = 4) -> torch.Tensor:
    return torch.rand(batch, 1, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def search(generator: nn.Module, latent: int = 3, **settings) -> DefenseGAN:
    settings = {"steps": 200, "learning_rate": 3.0, "size": (4, 4)} | settings
    return DefenseGAN(generator, latent, **settings).double()


def test_linear_generator_gives_the_least_squares_solution() -> None:
    reformer, image = search(LinearGenerator()), images()
    matrix, bias = reformer.generator.matrix.detach(), reformer.generator.bias.detach()
    latent = torch.linalg.lstsq(matrix, (image.flatten(1) - bias).T).solution
    wanted = ((matrix @ latent).T + bias).view_as(image)
    found, error = reformer.reconstruct(image)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(error, (wanted - image).square().flatten(1).mean(dim=1))
    torch.testing.assert_close(reformer(image), wanted)


def test_an_image_that_the_generator_can_make_is_found() -> None:
    generator = LinearGenerator(function=nn.Tanh()).double()
    with torch.no_grad():
        image = generator(torch.randn(2, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64) / 2)
    found, error = search(generator, restarts=3).reconstruct(image)
    torch.testing.assert_close(found, image, atol=1e-4, rtol=0)
    assert float(error.max()) < 1e-8


def test_the_best_start_is_kept() -> None:
    reformer, image = search(LinearGenerator(function=Sine()), restarts=4, steps=20, learning_rate=0.05), images()
    starts = reformer.starts
    found, error = reformer.reconstruct(image)
    alone = []
    for start in starts:
        reformer.starts = start[None]
        alone.append(reformer.reconstruct(image))
    errors = torch.stack([single for _, single in alone])
    assert len({int(row) for row in errors.argmin(dim=0)} | {0}) > 1  # else the first start would always do
    torch.testing.assert_close(error, errors.amin(dim=0))
    wanted = torch.stack([alone[int(best)][0][row] for row, best in enumerate(errors.argmin(dim=0))])
    torch.testing.assert_close(found, wanted)


def test_a_search_that_diverges_keeps_its_start() -> None:
    reformer, image = search(LinearGenerator(), restarts=1, learning_rate=1e3, steps=10), images()
    with torch.no_grad():
        start = reformer.generator(reformer.starts)
    found, error = reformer.reconstruct(image)
    torch.testing.assert_close(found, start.expand_as(image))
    torch.testing.assert_close(error, (start - image).square().flatten(1).mean(dim=1))


def test_the_batch_changes_nothing() -> None:
    reformer, image = search(LinearGenerator(function=Sine()), learning_rate=0.05, steps=50), images(4)
    found, error = reformer.reconstruct(image)
    for row in range(4):
        single, single_error = reformer.reconstruct(image[row : row + 1])
        torch.testing.assert_close(single[0], found[row], atol=1e-9, rtol=0)
        torch.testing.assert_close(single_error[0], error[row], atol=1e-9, rtol=0)
    assert reformer.reconstruct(image[:0])[1].shape == (0,)


def test_it_searches_where_gradients_are_off() -> None:
    reformer, image = search(LinearGenerator()), images()
    wanted = reformer(image)
    with torch.no_grad():
        assert torch.equal(reformer(image), wanted)
    with torch.inference_mode():
        assert torch.equal(reformer(images()), wanted)
    assert not wanted.requires_grad


def test_generator_and_random_state_are_left_as_they_were() -> None:
    generator = nn.Sequential(LinearGenerator(), nn.BatchNorm2d(1), nn.Dropout(0.5)).train()
    before = {name: value.clone() for name, value in generator.double().state_dict().items()}
    random_state = torch.get_rng_state()
    reformer = search(generator, steps=3)
    assert torch.equal(reformer(images()), reformer(images()))  # in evaluation mode: nothing is dropped
    assert generator.training
    assert all(parameter.grad is None for parameter in generator.parameters())
    torch.testing.assert_close(generator.state_dict(), before, atol=0, rtol=0)
    assert torch.equal(torch.get_rng_state(), random_state)


def test_the_seed_decides_the_starts() -> None:
    first, same, other = (search(LinearGenerator(), seed=seed).starts for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_a_generator_of_nan_finds_nothing() -> None:
    reformer = search(LinearGenerator(function=nn.Threshold(torch.inf, torch.nan)), steps=2)
    found, error = reformer.reconstruct(images())
    assert bool(torch.isnan(found).all())
    assert bool(torch.isinf(error).all())


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_larger_image_keeps_its_size_and_kind(kind: torch.dtype) -> None:
    image = MetaTensor(images(2, 9)[..., :7].to(kind), meta={"name": "here"})
    reformed = search(LinearGenerator(), steps=2)(image)
    assert isinstance(reformed, MetaTensor)
    assert (reformed.shape, reformed.dtype, reformed.meta["name"]) == (image.shape, kind, "here")


def test_resampling_closed_forms() -> None:
    image = images(2, 8)
    assert torch.equal(resample(image, (8, 8)), image)
    torch.testing.assert_close(resample(torch.full((1, 1, 10, 10), 0.3), (4, 7)), torch.full((1, 1, 4, 7), 0.3))
    # Halved: a triangle of four pixels along each axis.
    weights = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8
    inner = nn.functional.conv2d(image, (weights[:, None] * weights)[None, None], stride=2, padding=1)
    torch.testing.assert_close(resample(image, (4, 4))[..., 1:-1, 1:-1], inner[..., 1:-1, 1:-1])


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 4, 4), "expected"), ((1, 1, 4, 3), "at least"), ((1, 2, 5, 5), r"\(1, 4, 4\).*\(2, 4, 4\)")],
)
def test_images_that_do_not_fit_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search(LinearGenerator())(torch.zeros(shape))


@pytest.mark.parametrize(
    "settings",
    [
        {"latent": 0},
        {"steps": 0},
        {"restarts": 0},
        {"size": (4, 0)},
        {"size": (4, 4, 4)},
        {"learning_rate": 0.0},
        {"momentum": 1.0},
        {"momentum": -0.1},
    ],
)
def test_bad_settings_are_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        DefenseGAN(LinearGenerator(), **({"latent": 3} | settings))
