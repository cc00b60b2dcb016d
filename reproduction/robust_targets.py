# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Targets that were trained to resist: the families that need another training, to which a shield is compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from monai.engines import default_prepare_batch
from monai.networks.utils import eval_mode
from torch import nn

from monai_shield.attacks import PGD, Attack, FrozenNetwork
from monai_shield.detectors import Views
from reproduction.data import StudyData
from reproduction.parts import TargetPart, build
from reproduction.training import TrainingRun


@dataclass(frozen=True)
class AdversarialTarget(TargetPart):
    """
    A trained target, trained on with attacked images alone, made anew from its own weights at every step.

    Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks", arXiv 1706.06083. There the
    training begins with random weights.

    Args:
        network: see :class:`~reproduction.parts.TargetPart`; that of ``after``.
        training: likewise.
        augmentation: likewise.
        after: the target that it begins with.
        class_weight_power: likewise.
        attack: how the images are made.
    """

    attack: Attack = field(default_factory=lambda: PGD(epsilon=4 / 255, max_steps=5))

    def train(self, data: StudyData, run: TrainingRun, before: nn.Module | None) -> nn.Module:
        if before is None:
            raise ValueError("adversarial training begins with a trained target: 'after' must name it.")
        network = build(self.network, run.seed, run.device)
        network.load_state_dict(before.state_dict())

        def attacked_batch(batch: Mapping[str, Any], *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
            image, label = _image_and_label(batch, *args, **kwargs)
            # new starting points at every step
            index = torch.randint(2**31, (len(image),)).tolist()
            foreground = Views(image).foreground[:, None]  # not what augmentation added to the background
            return self.attack(network, image, label, foreground, index=index).image, label

        self.fit(network, data, run, attacked_batch)
        return network


@dataclass(frozen=True)
class DistilledTarget(TargetPart):
    """
    A target that learns from the softmax of another one of its kind, and whose logits are then multiplied.

    Papernot et al. 2016, "Distillation as a Defense to Adversarial Perturbations against Deep Neural Networks", arXiv
    1511.04508. There teacher and student are trained with logits divided by a temperature T, and the student is used
    at 1. Logits T times as large have at T the softmax that others have at 1: so both are trained at 1 here, the
    teacher as any target, and the student's last layer is multiplied by T in the end. This is to train at T networks
    that multiply their logits by T; ordinary ones, at 20, did not get under way in the epochs of the study. The
    student's loss is that of any target, with the teacher's softmax in place of the labels: by the cross entropy alone
    it left out the small structures.

    The gradient of the student's softmax vanishes. An attack that takes the logits' never notices (Carlini and Wagner
    2016, arXiv 1607.04311).

    Args:
        network: see :class:`~reproduction.parts.TargetPart`; its last layer gives the logits.
        training: likewise, of the student.
        augmentation: likewise.
        after: the teacher.
        class_weight_power: likewise.
        temperature: T.

    Raises:
        ValueError: when the temperature is not positive; in training, when the last layer does not give the logits.
    """

    temperature: float = 20.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}.")

    def train(self, data: StudyData, run: TrainingRun, before: nn.Module | None) -> nn.Module:
        if before is None:
            raise ValueError("distillation needs a teacher: 'after' must name it.")
        teacher = FrozenNetwork(before)

        def softened_batch(batch: Mapping[str, Any], *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
            image, _ = _image_and_label(batch, *args, **kwargs)
            with torch.no_grad():
                return image, F.softmax(teacher(image), dim=1)

        one_image = data.val_images[:1].to(run.device)
        # refuses a network whose logits cannot be multiplied before it is trained
        multiply_logits(build(self.network, run.seed, run.device), self.temperature, one_image)
        student = build(self.network, run.seed, run.device)
        self.fit(student, data, run, softened_batch)
        multiply_logits(student, self.temperature, one_image)
        return student


def multiply_logits(network: nn.Module, factor: float, image: torch.Tensor) -> None:
    """
    Multiply the logits of a network, in its last layer.

    Args:
        network: the parameters of its last layer are changed in place.
        factor: of the logits.
        image: to see by that they are multiplied, (B, C, H, W[, D]).

    Raises:
        ValueError: when they are not: what was made last does not give the logits.
    """
    with eval_mode(network):
        expected = factor * network(image)
        *_, last = (part for part in network.modules() if list(part.parameters(recurse=False)))
        for parameter in last.parameters(recurse=False):
            parameter.mul_(factor)
        if not torch.allclose(network(image), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())):
            raise ValueError(f"the logits of a {type(network).__name__} cannot be multiplied in its last layer.")


def _image_and_label(batch: Mapping[str, Any], *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    image, label, *_ = default_prepare_batch(dict(batch), *args, **kwargs)
    if label is None:
        raise ValueError("a training slice has no label.")
    return image, label
