# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""How the networks of a study are trained."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer, default_prepare_batch
from monai.handlers import LrScheduleHandler
from monai.optimizers import WarmupCosineSchedule
from monai.transforms import Compose
from torch.utils.data import Subset

from monai_shield.data import SliceDataset
from monai_shield.handlers import EpochSeed, LearningCurve, ResumableCheckpoint, TrainingProgress
from monai_shield.utils import seed_torch


@dataclass(frozen=True)
class Training:
    """
    Settings of a training with Adam, whose rate falls to almost nothing along a cosine.

    Args:
        epochs: how often every slice is seen.
        batch_size: slices a step.
        learning_rate: the highest, after the first steps.
        weight_decay: L2 regularization.
        every: keep every n-th training slice.
        noise_std: deviation of Gaussian noise that is added to what a network is to reconstruct, to its input alone.

    Raises:
        ValueError: when a setting is out of its range.
    """

    epochs: int
    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    every: int = 1
    noise_std: float = 0.0

    def steps(self, slices: int) -> int:
        """Of the optimizer, with so many training slices; a batch that is not full is left out."""
        return self.epochs * (len(range(0, slices, self.every)) // self.batch_size)

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.every) < 1:
            raise ValueError(
                f"epochs, batch_size and every must be at least 1, got {self.epochs}, {self.batch_size}, {self.every}."
            )
        if not self.learning_rate > 0 or self.weight_decay < 0 or self.noise_std < 0:
            raise ValueError(
                f"learning_rate must be positive, weight_decay and noise_std not negative, got {self.learning_rate}, "
                f"{self.weight_decay}, {self.noise_std}."
            )


@dataclass(frozen=True)
class TrainingRun:
    """
    What one training has of its own.

    Args:
        seed: of the weights, the order of the images and all that is random.
        checkpoint: file to go on from; a learning curve stands beside it.
        device: where to compute.
    """

    seed: int
    checkpoint: Path
    device: torch.device

    def with_seed(self, seed: int) -> "TrainingRun":
        """The same with another seed."""
        return replace(self, seed=seed)


def train_network(
    network: torch.nn.Module,
    slices: SliceDataset,
    loss: Callable[..., torch.Tensor],
    training: Training,
    run: TrainingRun,
    prepare_batch: Callable[..., Any] = default_prepare_batch,
    augmentation: Sequence[Callable[..., Any]] = (),
) -> None:
    """
    Train a network in place; goes on from the checkpoint where there is one.

    Args:
        network: from what ``prepare_batch`` gives to what the loss takes; already on the device.
        slices: the training slices.
        loss: of output and label.
        training: settings.
        run: seed, checkpoint and device.
        prepare_batch: from a batch of slices to input and label.
        augmentation: transforms of each slice.
    """
    devices = [run.device] if run.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        seed_torch(run.seed, run.device)
        transform = Compose(list(augmentation))
        chosen: Any = Subset(slices, range(0, len(slices), training.every))
        loader = DataLoader(
            Dataset(chosen, transform), batch_size=training.batch_size, shuffle=True, drop_last=True, num_workers=0
        )
        if len(loader) == 0:
            raise ValueError(f"{len(chosen)} training slices do not fill a batch of {training.batch_size}.")
        optimizer = torch.optim.Adam(network.parameters(), training.learning_rate, weight_decay=training.weight_decay)
        steps = training.steps(len(slices))
        scheduler: Any = WarmupCosineSchedule(
            optimizer,
            warmup_steps=min(50, steps // 10),
            t_total=steps,
            end_lr=training.learning_rate / 100,
            warmup_multiplier=0.05,
        )
        state = {"network": network, "optimizer": optimizer, "scheduler": scheduler}
        trainer = SupervisedTrainer(
            device=run.device,
            max_epochs=training.epochs,
            train_data_loader=loader,
            network=network.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
            optimizer=optimizer,
            loss_function=loss,
            prepare_batch=prepare_batch,
            train_handlers=[
                EpochSeed(run.seed, [transform, prepare_batch]),
                LrScheduleHandler(scheduler, print_lr=False, epoch_level=False),
                LearningCurve(str(run.checkpoint.with_suffix(".csv"))),
                TrainingProgress(),
                ResumableCheckpoint(str(run.checkpoint), state),
            ],
        )
        trainer.run()
