# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The networks of a study: what each depends on, its training, and the trained network."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import torch
from torch import nn
from torch.utils.data import Subset

from monai_shield.attacks import FrozenNetwork
from monai_shield.detectors import Detector, ReconstructionDetector, ViewBatches
from monai_shield.evaluation.cells import CellStore, Key
from monai_shield.fingerprints import fingerprint_of
from monai_shield.locks import lock_file
from reproduction.data import StudyData
from reproduction.defense_gan import DefenseGAN
from reproduction.grid import Grid, StudySettings
from reproduction.jobs import Job
from reproduction.training import TrainingRun

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudySetup:
    """
    What all parts of a study share.

    Args:
        data: scans by split, and their slices.
        grid: the parts of the study.
        settings: its numbers.
        cells: where results are kept.
        device: where to compute.
    """

    data: StudyData
    grid: Grid
    settings: StudySettings
    cells: CellStore
    device: torch.device


class StudyNetworks:
    """
    Trained targets, detectors, reformers and generators; each is a cell.

    Args:
        setup: of the study.
    """

    def __init__(self, setup: StudySetup) -> None:
        self.setup = setup
        self.data, self.grid, self.cells = setup.data, setup.grid, setup.cells
        self.seed, self.device = setup.settings.seed, setup.device

    # ---- what each depends on

    def trained_detectors(self) -> list[tuple[str, int]]:
        """Every detector with every seed it is trained with."""
        most = self.setup.settings.seeds
        return [(name, k) for name, part in self.grid.detectors.items() for k in range(min(part.seeds, most))]

    def target_fingerprint(self, name: str) -> str:
        """Sum of what a target depends on."""
        part = self.grid.every_target[name]
        before = None if part.after is None else self.target_fingerprint(part.after)
        return fingerprint_of([part, before, self.seed, self.data.fingerprint("train")])

    def detector_fingerprint(self, name: str, k: int) -> str:
        """Sum of what the weights of a detector depend on."""
        return fingerprint_of([self.grid.detectors[name].learned(), self.seed, k, self.data.fingerprint("train")])

    def reformer_fingerprint(self, name: str) -> str:
        """Sum of what a reformer depends on."""
        made = self.grid.reformers[name]
        return fingerprint_of([made]) if isinstance(made, nn.Module) else self.detector_fingerprint(made, 0)

    def target_key(self, name: str) -> Key:
        """The cell of a target's weights."""
        return "targets", name, self.target_fingerprint(name)

    def detector_key(self, name: str, k: int) -> Key:
        """The cell of a detector's weights."""
        return f"detectors/{name}", str(k), self.detector_fingerprint(name, k)

    def generator_key(self, name: str) -> Key:
        """The cell of the weights of a baseline defense."""
        learned = self.grid.baseline_defenses[name].learned()
        return "baseline_defenses", name, fingerprint_of([learned, self.seed, self.data.fingerprint("train")])

    # ---- training

    def target_jobs(self, names: Iterable[str]) -> Iterator[Job]:
        """Training of targets."""
        for name in names:
            yield self._job(f"target {name}", self.target_key(name), partial(self._train_target, name))

    def detector_jobs(self) -> Iterator[Job]:
        """Training of every detector, the first of each before the second of any."""
        for name, k in sorted(self.trained_detectors(), key=lambda pair: pair[1]):
            yield self._job(f"{name} {k}", self.detector_key(name, k), partial(self._train_detector, name, k))

    def generator_jobs(self) -> Iterator[Job]:
        """Training of the generator of every baseline defense."""
        for name, part in self.grid.baseline_defenses.items():
            train = partial(part.train, self.data)
            yield self._job(f"baseline defense {name}", self.generator_key(name), train)

    def _job(self, name: str, key: Key, train: Callable[[TrainingRun], nn.Module]) -> Job:
        return Job(name, partial(self.cells.has, *key), partial(self._train, key, train))

    def _train(self, key: Key, train: Callable[[TrainingRun], nn.Module]) -> None:
        checkpoint = self.cells.path(*key).with_suffix(".checkpoint")
        network = train(TrainingRun(self.seed, checkpoint, self.device))
        self.cells.put(*key, {"state": _state(network)})
        # what it took to go on is no longer needed
        for path in (checkpoint, lock_file(checkpoint, of_file=True)):
            path.unlink(missing_ok=True)

    def _train_target(self, name: str, run: TrainingRun) -> nn.Module:
        part = self.grid.every_target[name]
        before = None if part.after is None else self.trained_target(part.after)
        network = part.train(self.data, run, before)
        # hours of attacks on a target that learned nothing would tell nothing
        dice = self.data.val_dice(network, self.device, self.setup.settings.batch_size)
        logger.info("target '%s': mean Dice %.3f on the validation slices.", name, dice)
        return network

    def _train_detector(self, name: str, k: int, run: TrainingRun) -> nn.Module:
        # another stream of seeds than the targets'
        return self.grid.detectors[name].train(self.data, run.with_seed(self.seed + 1000 * (k + 1)))

    # ---- trained networks

    def _weights(self, what: str, key: Key) -> Any:
        cell = self.cells.load(*key)
        if cell is None:
            raise ValueError(f"{what} is not trained yet.")
        return cell["state"]

    @cache  # noqa: B019 - the networks live as long as their study
    def target(self, name: str) -> nn.Module:
        """A trained target, ready to be attacked."""
        return FrozenNetwork(self.trained_target(name))

    def trained_target(self, name: str) -> nn.Module:
        """A trained target that may be trained on."""
        weights = self._weights(f"target '{name}'", self.target_key(name))
        network = self.grid.every_target[name].network().to(self.device)
        network.load_state_dict(weights)
        return network

    @cache  # noqa: B019
    def detector(self, name: str, k: int = 0) -> ReconstructionDetector:
        """A trained detector."""
        weights = self._weights(f"detector '{name}'", self.detector_key(name, k))
        channels, *size = self.data.val_images.shape[1:]
        detector = self.grid.detectors[name].detector(size, channels, self.seed, self.device)
        detector.load_state_dict(weights)
        detector.network = FrozenNetwork(detector.network)
        return detector.eval()

    @cached_property
    def baseline_detectors(self) -> dict[str, Detector]:
        """The detectors for which no network is trained, fitted."""
        made = {name: make().to(self.device).eval() for name, make in self.grid.baseline_detectors.items()}
        images = Subset(self.data.train, range(0, len(self.data.train), 4))
        for detector in made.values():
            detector.fit(ViewBatches(images, batch_size=1, device=self.device))
        return made

    def reformer(self, name: str) -> nn.Module:
        """A reformer, trained or without training."""
        made = self.grid.reformers[name]
        return made.to(self.device).eval() if isinstance(made, nn.Module) else self.detector(made).network

    @cache  # noqa: B019
    def baseline_defense(self, name: str) -> DefenseGAN:
        """A trained baseline defense."""
        weights = self._weights(f"baseline defense '{name}'", self.generator_key(name))
        part = self.grid.baseline_defenses[name]
        generator = part.generator()
        generator.load_state_dict(weights)
        return part.defense(generator).to(self.device).eval()


def _state(network: nn.Module) -> dict[str, Any]:
    """A network's weights, without a detector's calibration: that is the study's own."""
    return {
        key: value.detach().cpu().contiguous() if isinstance(value, torch.Tensor) else value
        for key, value in network.state_dict().items()
    }
