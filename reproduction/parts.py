# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a study of defenses is made of: settings that a config declares."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.engines import default_prepare_batch
from torch import nn
from torch.utils.data import Subset

from monai_shield.attacks import Attack
from monai_shield.detectors import ReconstructionBatch, ReconstructionDetector, ViewBatches
from monai_shield.detectors.reconstruction import Domain, Part, Scaling
from monai_shield.losses import WeightedLogisticDiceLoss, median_frequency_weights
from monai_shield.reformers import ReformerBatch
from monai_shield.utils import seed_torch
from reproduction.data import StudyData
from reproduction.training import Training, TrainingRun, train_network

Factory = Callable[[], nn.Module]


def every_nth(number: int, every: int) -> torch.Tensor:
    """Every n-th of so many things, beginning in the middle of the first n."""
    return torch.arange(number)[(every - 1) // 2 :: every]


def build(network: Factory, seed: int, device: torch.device) -> nn.Module:
    """A network whose first weights are those of the seed."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        seed_torch(seed, device)
        return network().to(device)


@dataclass(frozen=True)
class TargetPart:
    """
    A target, trained on the labels with the paper's loss.

    Args:
        network: makes it.
        training: how it is trained.
        augmentation: each makes a transform of a training slice.
        after: a target that must be there first; its network is handed to :meth:`train`.
        class_weight_power: how strongly rare classes are weighted, see ``median_frequency_weights``.
    """

    network: Factory
    training: Training
    augmentation: Sequence[Callable[[], Callable[..., Any]]] = ()
    after: str | None = None
    class_weight_power: float = 0.5

    def train(self, data: StudyData, run: TrainingRun, before: nn.Module | None) -> nn.Module:
        """
        The trained network.

        Args:
            data: to train on.
            run: seed, checkpoint and device.
            before: the network of ``after``.
        """
        network = build(self.network, run.seed, run.device)
        self.fit(network, data, run)
        return network

    def fit(
        self,
        network: nn.Module,
        data: StudyData,
        run: TrainingRun,
        prepare_batch: Callable[..., Any] = default_prepare_batch,
    ) -> None:
        """Train a network in place; arguments as of :func:`~reproduction.training.train_network`."""
        augmentation = [make() for make in self.augmentation]
        loss = self.loss(data).to(run.device)
        train_network(network, data.train, loss, self.training, run, prepare_batch, augmentation)

    def loss(self, data: StudyData) -> nn.Module:
        """The paper's loss, with the weights of the training labels."""
        labels = (volume["label"] for volume in data.train.volumes)
        return WeightedLogisticDiceLoss(median_frequency_weights(labels, data.num_classes, self.class_weight_power))


@dataclass(frozen=True)
class DetectorPart:
    """
    A detector by reconstruction error, trained on clean images; in space, its network is a reformer as well.

    Args:
        network: makes D.
        training: how it is trained.
        domain: see :class:`~monai_shield.detectors.ReconstructionDetector`.
        part: likewise.
        scaling: likewise.
        p: likewise.
        wrap: what is done to the network before it is trained: how it sees what lies side by side.
        seeds: how often it is trained.
        group: the table it stands in.
    """

    network: Factory
    training: Training
    domain: Domain = "space"
    part: Part = "magnitude"
    scaling: Scaling = "per_frequency"
    p: float = 2.0
    wrap: Callable[[nn.Module], nn.Module] | None = None
    seeds: int = 1
    group: str = "paper"

    def learned(self) -> tuple[object, ...]:
        """What the weights depend on."""
        return (self.network, self.training, self.domain, self.part, self.scaling, self.wrap)

    def detector(self, size: Sequence[int], channels: int, seed: int, device: torch.device) -> ReconstructionDetector:
        """The detector, not trained."""
        network = build(self.network, seed, device)
        if self.wrap is not None:
            network = self.wrap(network)
        detector = ReconstructionDetector(network, self.domain, size, channels, self.part, self.p, self.scaling)
        return detector.to(device)

    def train(self, data: StudyData, run: TrainingRun) -> ReconstructionDetector:
        """The trained detector; arguments as in :meth:`TargetPart.train`."""
        channels, *size = data.train[0]["image"].shape
        detector = self.detector(size, channels, run.seed, run.device)
        images = Subset(data.train, range(0, len(data.train), self.training.every))
        detector.fit(ViewBatches(images, batch_size=1, device=run.device))
        batch: Any = ReconstructionBatch(detector)
        if self.domain == "space":
            batch = ReformerBatch(noise_std=self.training.noise_std, seed=run.seed)
        train_network(detector.network, data.train, nn.MSELoss(), self.training, run, prepare_batch=batch)
        return detector


@dataclass(frozen=True)
class AttackPart:
    """
    An attack of a study.

    Args:
        attack: how it is made, from the true label.
        every: it is made on every n-th of the slices only, beginning in the middle of the first n.
        pooled: whether it is one of those that are averaged into the study's main number.

    Raises:
        ValueError: when ``every`` is not positive.
    """

    attack: Attack
    every: int = 1
    pooled: bool = False

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}.")

    def chosen(self, number: int) -> torch.Tensor:
        """Which of so many slices are attacked."""
        return every_nth(number, self.every)
