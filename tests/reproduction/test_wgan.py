# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The gradient penalty in closed form; a training that is killed ends as if it never was."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch import nn

from reproduction.training import TrainingRun
from reproduction.wgan import WGANTraining, gradient_penalty, train_wgan

SIZES = [(4, 4), (2, 4, 2)]


def make_generator(size: tuple[int, ...] = (4, 4), seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.Unflatten(1, (1, *size)))


def make_critic(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.LeakyReLU(0.2), nn.Dropout(0.1), nn.Linear(8, 1))


def images(size: tuple[int, ...] = (4, 4), batch: int = 12) -> torch.Tensor:
    return torch.rand(batch, 1, *size, generator=torch.Generator().manual_seed(1))


def one_run(folder: Path, seed: int = 0) -> TrainingRun:
    return TrainingRun(seed, folder / "checkpoint.pt", torch.device("cpu"))


def train(
    folder: Path, seed: int = 0, weights_seed: int = 0, generator: nn.Module | None = None, **settings
) -> dict[str, torch.Tensor]:
    numbers = {"critic_steps": 2, "batch_size": 4, "learning_rate": 0.01, "checkpoint_interval": 2, "steps": 6}
    generator = make_generator(seed=weights_seed) if generator is None else generator
    critic = make_critic(seed=weights_seed)
    training = WGANTraining(2, **(numbers | settings))
    return train_wgan(generator, critic, images(), training, one_run(folder, seed)).state_dict()


class Killed(nn.Sequential):
    """A generator whose training is killed in the middle of its second epoch, and goes on when it is asked again."""

    calls = 0

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls == 9:  # asked once for its shape, then thrice a step
            raise KeyboardInterrupt
        return super().forward(latent)


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_penalty_of_a_linear_critic_is_that_of_its_weights(size: tuple[int, ...]) -> None:
    critic = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    weight = critic[1].weight
    nn.init.uniform_(weight, -1, 1, generator=torch.Generator().manual_seed(2))
    penalty = gradient_penalty(critic, images(size), -images(size), torch.linspace(0, 1, 12))
    norm = weight.detach().norm()
    torch.testing.assert_close(penalty.detach(), (norm - 1) ** 2)
    penalty.backward()
    torch.testing.assert_close(weight.grad, 2 * (norm - 1) * weight.detach() / norm)


def test_penalty_is_taken_between_real_and_generated_images() -> None:
    """Of D(x) = |x|² / 2 the gradient is x itself."""

    class HalfSquare(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.square().flatten(1).sum(dim=1, keepdim=True) / 2

    real, fake, mix = images(), 3 * images() - 1, torch.linspace(0, 1, 12)
    between = torch.stack([m * x + (1 - m) * y for m, x, y in zip(mix, real, fake)])
    wanted = torch.stack([(x.norm() - 1) ** 2 for x in between]).mean()
    torch.testing.assert_close(gradient_penalty(HalfSquare(), real, fake, mix).detach(), wanted)


def test_killed_and_started_again_equals_one_go(tmp_path: Path) -> None:
    whole, folder = train(tmp_path / "whole"), tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        train(folder, generator=Killed(*make_generator()))
    # Other initial weights: all that counts comes out of the file.
    torch.testing.assert_close(train(folder, weights_seed=5), whole, atol=0, rtol=0)
    torch.testing.assert_close(train(folder, weights_seed=6), whole, atol=0, rtol=0)  # finished already
    with (folder / "checkpoint.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_the_seed_decides_and_the_global_random_state_stays(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    first, same, other = train(tmp_path / "first"), train(tmp_path / "same"), train(tmp_path / "other", seed=1)
    assert torch.equal(before, torch.get_rng_state())
    torch.testing.assert_close(first, same, atol=0, rtol=0)
    assert not torch.equal(first["0.weight"], other["0.weight"])


def test_the_generator_comes_to_the_images(tmp_path: Path) -> None:
    generator = nn.Sequential(nn.Linear(2, 16), nn.Unflatten(1, (1, 4, 4)))
    target = 2 + images() / 10
    training = WGANTraining(2, 100, 3, 16, learning_rate=0.05, betas=(0.5, 0.9))
    train_wgan(generator, make_critic(), target, training, one_run(tmp_path))
    assert not generator.training
    with torch.no_grad():
        made = generator(torch.randn(64, 2, generator=torch.Generator().manual_seed(3)))
    assert float((made.mean() - target.mean()).abs()) < 1.0


def test_a_training_that_diverges_is_stopped(tmp_path: Path) -> None:
    class Broken(nn.Flatten):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return super().forward(image) * torch.nan

    critic = nn.Sequential(Broken(), nn.Linear(16, 1))
    with pytest.raises(RuntimeError, match="step 1"):
        train_wgan(make_generator(), critic, images(), WGANTraining(2, 2, checkpoint_interval=2), one_run(tmp_path))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "at least 1"),
        ({"critic_steps": 0}, "at least 1"),
        ({"batch_size": 0}, "at least 1"),
        ({"steps": 3}, "multiple"),
        ({"penalty_weight": -1.0}, "negative"),
    ],
)
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WGANTraining(**({"latent": 2, "steps": 6, "checkpoint_interval": 2} | settings))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (images()[:0], "finite images"),
        (images() * torch.nan, "finite images"),
        (images((4, 5)), r"\(1, 4, 4\), not \(1, 4, 5\)"),
    ],
)
def test_images_that_do_not_fit_are_refused(data: torch.Tensor, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        train_wgan(make_generator(), make_critic(), data, WGANTraining(2, 2, checkpoint_interval=2), one_run(tmp_path))
