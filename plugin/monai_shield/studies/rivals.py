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
"""Defenses that replace the image by one of their own: slow, and so measured on fewer slices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_shield.handlers import LearningCurve
from monai_shield.reformers import DefenseGAN, resample

from .data import StudyData
from .parts import build, every_nth
from .wgan import train_wgan

__all__ = ["DefenseGANPart"]


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
        training: further arguments of :func:`~monai_shield.studies.wgan.train_wgan`.
        search: further arguments of :class:`~monai_shield.reformers.DefenseGAN`.

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
        """The trained generator; arguments as in :meth:`~monai_shield.studies.TargetPart.train`."""
        images = torch.cat([resample(volume["image"], (self.size, self.size)) for volume in data.train.volumes])
        bears = (images > 0).flatten(1).float().mean(dim=1) > data.min_body
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
