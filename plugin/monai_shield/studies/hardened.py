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
"""Targets that were trained to resist: the families that need another training, to which a shield is compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from monai.engines import default_prepare_batch
from torch import nn

from monai_shield.attacks import PGD, Attack
from monai_shield.detectors import Views

from .data import StudyData
from .parts import TargetPart, build

__all__ = ["AdversarialTarget", "DistilledTarget", "Tempered"]


@dataclass(frozen=True)
class AdversarialTarget(TargetPart):
    """
    A trained target, trained on with attacked images alone, made anew from its own weights at every step.

    Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks", arXiv 1706.06083. There the
    training begins with random weights.

    Args:
        network: see :class:`~monai_shield.studies.TargetPart`; that of ``after``.
        training: likewise.
        augmentation: likewise.
        after: the target that it begins with.
        class_weight_power: likewise.
        attack: how the images are made.
    """

    attack: Attack = field(default_factory=lambda: PGD(epsilon=4 / 255, max_steps=5))

    def train(
        self, data: StudyData, seed: int, checkpoint: Path, device: torch.device, before: nn.Module | None
    ) -> nn.Module:
        if before is None:
            raise ValueError("adversarial training begins with a trained target: 'after' must name it.")
        network = build(self.network, seed, device)
        network.load_state_dict(before.state_dict())

        def attacked_batch(batch: Mapping[str, Any], *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
            image, label = _image_and_label(batch, *args, **kwargs)
            # new starting points at every step
            index = torch.randint(2**31, (len(image),)).tolist()
            body = Views(image).body[:, None]  # not what augmentation added to the background
            return self.attack(network, image, label, body, index=index).image, label

        self.fit(network, self.loss(data), data, seed, checkpoint, device, attacked_batch)
        return network


@dataclass(frozen=True)
class DistilledTarget(TargetPart):
    """
    A target that learns from the softmax of another one of its kind, both at a high temperature; used at 1.

    Papernot et al. 2016, "Distillation as a Defense to Adversarial Perturbations against Deep Neural Networks", arXiv
    1511.04508. It makes the gradient of the softmax vanish; an attack that takes the logits' never notices.

    Args:
        network: see :class:`~monai_shield.studies.TargetPart`; of the teacher and of the student.
        training: likewise, of each of the two.
        augmentation: likewise.
        after: not used.
        class_weight_power: of the teacher.
        temperature: by which the logits of both are divided.
    """

    temperature: float = 20.0

    def train(
        self, data: StudyData, seed: int, checkpoint: Path, device: torch.device, before: nn.Module | None
    ) -> nn.Module:
        teacher = build(self.network, seed, device)
        hard = Tempered(self.loss(data), self.temperature)
        self.fit(teacher, hard, data, seed, checkpoint.with_suffix(".teacher.checkpoint"), device)
        teacher.eval().requires_grad_(False)

        def softened_batch(batch: Mapping[str, Any], *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
            image, _ = _image_and_label(batch, *args, **kwargs)
            with torch.no_grad():
                return image, F.softmax(teacher(image) / self.temperature, dim=1)

        student = build(self.network, seed + 1, device)
        soft = Tempered(nn.CrossEntropyLoss(), self.temperature)
        self.fit(student, soft, data, seed + 1, checkpoint, device, softened_batch)
        return student


class Tempered(nn.Module):
    """
    A loss of logits that are divided by a temperature.

    Args:
        loss: of logits and label.
        temperature: T; the loss is multiplied by it, so that the gradients keep their size.
    """

    def __init__(self, loss: Callable[..., torch.Tensor], temperature: float) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}.")
        self.loss = loss
        self.temperature = temperature

    def forward(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return self.temperature * self.loss(logits / self.temperature, label)


def _image_and_label(batch: Mapping[str, Any], *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    image, label, *_ = default_prepare_batch(dict(batch), *args, **kwargs)
    if label is None:
        raise ValueError("a training slice has no label.")
    return image, label
