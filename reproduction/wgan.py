# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A generator of clean images, trained against a critic."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from monai.networks.utils import eval_mode
from monai.utils import convert_to_tensor
from torch import Tensor, nn

from monai_shield.handlers import ResumableCheckpoint, TrainingProgress


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


def train_wgan(
    generator: nn.Module,
    critic: nn.Module,
    images: Tensor,
    latent: int,
    steps: int,
    critic_steps: int = 5,
    batch_size: int = 32,
    penalty_weight: float = 10.0,
    learning_rate: float = 1e-4,
    betas: tuple[float, float] = (0.0, 0.9),
    seed: int = 0,
    checkpoint: str | Path | None = None,
    checkpoint_interval: int = 100,
    device: str | torch.device = "cpu",
    handlers: Sequence[Any] = (),
) -> nn.Module:
    """
    Train a generator as a Wasserstein GAN with gradient penalty (arXiv 1704.00028, algorithm 1 and its defaults).

    A training that was killed goes on from its checkpoint and ends with the weights it would have had. Its random
    numbers are drawn on the CPU, and the global random state is afterwards what it was before. The weights that it
    starts from are the caller's.

    Args:
        generator: standard normal vectors (B, `latent`) to images; trained in place.
        critic: images to one value each, without batch normalization; trained in place.
        images: clean images, (N, C, H, W[, D]), of the generator's size.
        latent: length of a latent vector.
        steps: steps of the generator, a multiple of `checkpoint_interval`.
        critic_steps: steps of the critic before each of the generator.
        batch_size: images a step, drawn with replacement.
        penalty_weight: weight of :func:`gradient_penalty`.
        learning_rate: of both Adam optimizers.
        betas: of both Adam optimizers.
        seed: of the batches, the latent vectors and all else that is drawn in training.
        checkpoint: file to go on from, written every `checkpoint_interval` steps; none where it is None.
        checkpoint_interval: also the length of what handlers see as an epoch.
        device: where to train.
        handlers: further Ignite handlers, such as a :class:`~monai_shield.handlers.LearningCurve`. The loss they see is
            the critic's estimate of the Wasserstein distance, which falls as the images get better.

    Returns:
        the generator, in evaluation mode.

    Raises:
        ValueError: for no images, images that are not finite or not of the generator's shape, or a setting out of its
            range.
        RuntimeError: where the training diverges.
    """
    if min(latent, steps, critic_steps, batch_size, checkpoint_interval) < 1:
        raise ValueError("latent, steps, critic_steps, batch_size and checkpoint_interval must be at least 1.")
    if steps % checkpoint_interval:
        raise ValueError(f"steps = {steps} must be a multiple of checkpoint_interval = {checkpoint_interval}.")
    if penalty_weight < 0:
        raise ValueError(f"penalty_weight must not be negative, got {penalty_weight}.")
    images = convert_to_tensor(images, device=device, track_meta=False)
    if images.ndim < 3 or len(images) == 0 or not bool(torch.isfinite(images).all()):
        raise ValueError(f"expected finite images (N, C, H, W[, D]), got shape {tuple(images.shape)}.")
    generator.to(device)
    critic.to(device)
    with eval_mode(generator):
        shape = generator(torch.zeros(1, latent, device=device)).shape[1:]
    if shape != images.shape[1:]:
        raise ValueError(f"the generator makes images of shape {tuple(shape)}, not {tuple(images.shape[1:])}.")
    generator_optimizer = torch.optim.Adam(generator.parameters(), learning_rate, betas)
    critic_optimizer = torch.optim.Adam(critic.parameters(), learning_rate, betas)

    def draw_latent() -> Tensor:
        return torch.randn(batch_size, latent).to(images)

    def critic_step() -> float:
        real = images[torch.randint(len(images), (batch_size,)).to(images.device)]
        with torch.no_grad():
            fake = generator(draw_latent())
        distance = critic(real).mean() - critic(fake).mean()
        penalty = gradient_penalty(critic, real, fake, torch.rand(batch_size).to(images))
        critic_optimizer.zero_grad()
        (penalty_weight * penalty - distance).backward()
        critic_optimizer.step()
        return float(distance.detach())

    def step(engine: Engine, batch: Any) -> dict[str, float]:
        generator.train()
        critic.train()
        distance = [critic_step() for _ in range(critic_steps)][-1]
        if not math.isfinite(distance):
            raise RuntimeError(f"the critic's loss is not finite at step {engine.state.iteration}.")
        generator_optimizer.zero_grad()
        (-critic(generator(draw_latent())).mean()).backward(inputs=list(generator.parameters()))
        generator_optimizer.step()
        return {"loss": distance}

    trainer = Engine(step)
    epochs = steps // checkpoint_interval
    for handler in (*handlers, TrainingProgress()):
        handler.attach(trainer)
    if checkpoint is not None:
        state = {
            "generator": generator,
            "critic": critic,
            "generator_optimizer": generator_optimizer,
            "critic_optimizer": critic_optimizer,
        }
        ResumableCheckpoint(str(checkpoint), state).attach(trainer)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        trainer.run(max_epochs=epochs, epoch_length=checkpoint_interval)
    return generator.eval()
