# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Defenses that replace the image by one of their own: slow, and so measured on fewer slices."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_shield.handlers import LearningCurve
from reproduction.data import StudyData
from reproduction.defense_gan import DefenseGAN, resample
from reproduction.parts import build, every_nth
from reproduction.wgan import train_wgan


@dataclass(frozen=True)
class DefenseGANPart:
    """
    Defense-GAN (Samangouei et al. 2018, arXiv 1805.06605) around a generator that is trained here.

    Args:
        generator: makes it; latent vectors (B, ``latent``) to images (B, 1, ``size``, ``size``).
        critic: makes it.
        latent: length of a latent vector.
        steps: steps of the generator's training.
        size: height and width of the generator's images.
        every: it is measured on every n-th of the slices only, of test and validation scans alike.
        training: further arguments of :func:`~reproduction.wgan.train_wgan`.
        search: further arguments of :class:`~reproduction.defense_gan.DefenseGAN`.

    Raises:
        ValueError: when a setting is not positive.
    """

    generator: Callable[[], nn.Module]
    critic: Callable[[], nn.Module]
    latent: int
    steps: int
    size: int = 64
    every: int = 5
    training: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("latent", "steps", "size", "every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")

    def defense(self, generator: nn.Module) -> DefenseGAN:
        """The defense around a generator."""
        return DefenseGAN(generator, self.latent, size=(self.size, self.size), **self.search)

    def train(self, data: StudyData, seed: int, checkpoint: Path, device: torch.device) -> nn.Module:
        """The trained generator; arguments as in :meth:`~reproduction.parts.TargetPart.train`."""
        images = torch.cat([resample(volume["image"], (self.size, self.size)) for volume in data.train.volumes])
        bears = data.foreground.share(images) > data.min_foreground
        generator, critic = build(self.generator, seed, device), build(self.critic, seed + 1, device)
        return train_wgan(
            generator,
            critic,
            images[bears],
            self.latent,
            self.steps,
            seed=seed,
            checkpoint=checkpoint,
            device=device,
            handlers=[LearningCurve(str(checkpoint.with_suffix(".csv")))],
            **self.training,
        )

    def chosen(self, number: int) -> torch.Tensor:
        """Which of so many slices it is measured on."""
        return every_nth(number, self.every)
