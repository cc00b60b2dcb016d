# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Defenses that replace the image by one of their own: slow, and so measured on fewer slices."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from reproduction.data import StudyData
from reproduction.defense_gan import DefenseGAN, resample
from reproduction.parts import build, every_nth
from reproduction.training import TrainingRun
from reproduction.wgan import WGANTraining, train_wgan


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
        training: further arguments of :class:`~reproduction.wgan.WGANTraining`.
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

    def learned(self) -> tuple[object, ...]:
        """What the weights depend on."""
        return (self.generator, self.critic, self.latent, self.steps, self.size, self.training)

    def train(self, data: StudyData, run: TrainingRun) -> nn.Module:
        """The trained generator; arguments as in :meth:`~reproduction.parts.TargetPart.train`."""
        images = torch.cat([resample(volume["image"], (self.size, self.size)) for volume in data.train.volumes])
        bears = data.slicing.bears(images)
        generator, critic = (
            build(make, run.seed + place, run.device) for place, make in enumerate((self.generator, self.critic))
        )
        return train_wgan(generator, critic, images[bears], WGANTraining(self.latent, self.steps, **self.training), run)

    def chosen(self, number: int) -> torch.Tensor:
        """Which of so many slices it is measured on."""
        return every_nth(number, self.every)
