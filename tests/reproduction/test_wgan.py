# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The gradient penalty in closed form; a training that is killed ends as if it never was."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from monai_shield.handlers import LearningCurve
from reproduction.wgan import gradient_penalty, train_wgan

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


def train(seed: int = 0, weights_seed: int = 0, steps: int = 6, **settings) -> dict[str, torch.Tensor]:
    settings = {"critic_steps": 2, "batch_size": 4, "learning_rate": 0.01, "checkpoint_interval": 2} | settings
    networks = make_generator(seed=weights_seed), make_critic(seed=weights_seed)
    return train_wgan(*networks, images(), 2, steps, seed=seed, **settings).state_dict()


class Kill:
    """Stops a training in the middle of an epoch."""

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=3), self.kill)

    def kill(self, engine: Engine) -> None:
        raise KeyboardInterrupt


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
    whole = train()
    file = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(checkpoint=file, handlers=[Kill()])
    # Other initial weights: all that counts comes out of the file.
    torch.testing.assert_close(train(weights_seed=5, checkpoint=file), whole, atol=0, rtol=0)
    torch.testing.assert_close(train(weights_seed=6, checkpoint=file), whole, atol=0, rtol=0)  # finished already


def test_the_seed_decides_and_the_global_random_state_stays(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    first, same, other = train(checkpoint=tmp_path / "checkpoint.pt"), train(), train(seed=1)
    assert torch.equal(before, torch.get_rng_state())
    torch.testing.assert_close(first, same, atol=0, rtol=0)
    assert not torch.equal(first["0.weight"], other["0.weight"])


def test_the_generator_comes_to_the_images() -> None:
    generator = nn.Sequential(nn.Linear(2, 16), nn.Unflatten(1, (1, 4, 4)))
    target = 2 + images() / 10
    train_wgan(generator, make_critic(), target, 2, 100, 3, 16, learning_rate=0.05, betas=(0.5, 0.9))
    assert not generator.training
    with torch.no_grad():
        made = generator(torch.randn(64, 2, generator=torch.Generator().manual_seed(3)))
    assert float((made.mean() - target.mean()).abs()) < 1.0


def test_handlers_see_an_epoch_an_interval(tmp_path: Path) -> None:
    train(handlers=[LearningCurve(str(tmp_path / "curve.csv"))])
    with (tmp_path / "curve.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_a_training_that_diverges_is_stopped() -> None:
    class Broken(nn.Flatten):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return super().forward(image) * torch.nan

    critic = nn.Sequential(Broken(), nn.Linear(16, 1))
    with pytest.raises(RuntimeError, match="step 1"):
        train_wgan(make_generator(), critic, images(), 2, 2, checkpoint_interval=2)


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
        train(**settings)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (images()[:0], "finite images"),
        (images() * torch.nan, "finite images"),
        (images((4, 5)), r"\(1, 4, 4\), not \(1, 4, 5\)"),
    ],
)
def test_images_that_do_not_fit_are_refused(data: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_wgan(make_generator(), make_critic(), data, 2, 2, checkpoint_interval=2)
