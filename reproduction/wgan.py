# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A generator of clean images, trained against a critic."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from ignite.engine import Engine
from monai.networks.utils import eval_mode
from monai.utils import convert_to_tensor
from torch import Tensor, nn

from monai_shield.handlers import LearningCurve, ResumableCheckpoint, TrainingProgress
from reproduction.training import TrainingRun


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    r"""
    How far the critic D is from a slope of 1 between real and generated images.

    .. math:: \frac{1}{B} \sum_i (\lVert \nabla D(\hat x_i) \rVert_2 - 1)^2, \quad
        \hat x_i = m_i x_i + (1 - m_i) \tilde x_i

    Gulrajani et al. (2017), "Improved Training of Wasserstein GANs", https://arxiv.org/abs/1704.00028

    Args:
        critic: images to one value each, each image by itself: without batch normalization.
        real: images x, (B, C, H, W[, D]).
        fake: images of the generator, of the same shape.
        mix: m, (B,), in [0, 1].

    Returns:
        scalar, differentiable in the critic's parameters.
    """
    mix = mix.view(-1, *[1] * (real.ndim - 1))
    between = (mix * real + (1 - mix) * fake).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (torch.linalg.vector_norm(gradient.flatten(1), dim=1) - 1).square().mean()


@dataclass(frozen=True)
class WGANTraining:
    """
    Settings of a training as a Wasserstein GAN with gradient penalty; defaults of arXiv 1704.00028, algorithm 1.

    Args:
        latent: length of a latent vector.
        steps: steps of the generator, a multiple of `checkpoint_interval`.
        critic_steps: steps of the critic before each of the generator.
        batch_size: images a step, drawn with replacement.
        penalty_weight: weight of :func:`gradient_penalty`.
        learning_rate: of both Adam optimizers.
        betas: of both Adam optimizers.
        checkpoint_interval: steps from one checkpoint to the next; also the epoch of the learning curve.

    Raises:
        ValueError: for a setting out of its range.
    """

    latent: int
    steps: int
    critic_steps: int = 5
    batch_size: int = 32
    penalty_weight: float = 10.0
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.0, 0.9)
    checkpoint_interval: int = 100

    def __post_init__(self) -> None:
        if min(self.latent, self.steps, self.critic_steps, self.batch_size, self.checkpoint_interval) < 1:
            raise ValueError("latent, steps, critic_steps, batch_size and checkpoint_interval must be at least 1.")
        if self.steps % self.checkpoint_interval:
            raise ValueError(
                f"steps = {self.steps} must be a multiple of checkpoint_interval = {self.checkpoint_interval}."
            )
        if self.penalty_weight < 0:
            raise ValueError(f"penalty_weight must not be negative, got {self.penalty_weight}.")


def train_wgan(
    generator: nn.Module, critic: nn.Module, images: Tensor, training: WGANTraining, run: TrainingRun
) -> nn.Module:
    """
    Train a generator against a critic.

    A training that was killed goes on from its checkpoint and ends with the same weights. Its random numbers are drawn
    on the CPU, and the global random state is afterwards what it was before. The initial weights are the caller's.

    Args:
        generator: standard normal vectors (B, latent) to images; trained in place.
        critic: images to one value each, without batch normalization; trained in place.
        images: clean images, (N, C, H, W[, D]), of the generator's size.
        training: settings.
        run: seed, checkpoint and device. The loss of its learning curve is the critic's estimate of the Wasserstein
            distance, which falls as the images get better.

    Returns:
        the generator, in evaluation mode.

    Raises:
        ValueError: for no images, or images that are not finite or not of the generator's shape.
        RuntimeError: where the training diverges.
    """
    images = convert_to_tensor(images, device=run.device, track_meta=False)
    if images.ndim < 3 or len(images) == 0 or not bool(torch.isfinite(images).all()):
        raise ValueError(f"expected finite images (N, C, H, W[, D]), got shape {tuple(images.shape)}.")
    generator.to(run.device)
    critic.to(run.device)
    with eval_mode(generator):
        shape = generator(torch.zeros(1, training.latent, device=run.device)).shape[1:]
    if shape != images.shape[1:]:
        raise ValueError(f"the generator makes images of shape {tuple(shape)}, not {tuple(images.shape[1:])}.")
    generator_optimizer = torch.optim.Adam(generator.parameters(), training.learning_rate, training.betas)
    critic_optimizer = torch.optim.Adam(critic.parameters(), training.learning_rate, training.betas)

    def draw_latent() -> Tensor:
        return torch.randn(training.batch_size, training.latent).to(images)

    def critic_step() -> float:
        real = images[torch.randint(len(images), (training.batch_size,)).to(images.device)]
        with torch.no_grad():
            fake = generator(draw_latent())
        distance = critic(real).mean() - critic(fake).mean()
        penalty = gradient_penalty(critic, real, fake, torch.rand(training.batch_size).to(images))
        critic_optimizer.zero_grad()
        (training.penalty_weight * penalty - distance).backward()
        critic_optimizer.step()
        return float(distance.detach())

    def step(engine: Engine, batch: Any) -> dict[str, float]:
        generator.train()
        critic.train()
        distance = [critic_step() for _ in range(training.critic_steps)][-1]
        if not math.isfinite(distance):
            raise RuntimeError(f"the critic's loss is not finite at step {engine.state.iteration}.")
        generator_optimizer.zero_grad()
        (-critic(generator(draw_latent())).mean()).backward(inputs=list(generator.parameters()))
        generator_optimizer.step()
        return {"loss": distance}

    trainer = Engine(step)
    state = {
        "generator": generator,
        "critic": critic,
        "generator_optimizer": generator_optimizer,
        "critic_optimizer": critic_optimizer,
    }
    curve = LearningCurve(str(run.checkpoint.with_suffix(".csv")))
    for handler in (curve, TrainingProgress(), ResumableCheckpoint(str(run.checkpoint), state)):
        handler.attach(trainer)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(run.seed)
        epoch = training.checkpoint_interval
        trainer.run(max_epochs=training.steps // epoch, epoch_length=epoch)
    return generator.eval()
