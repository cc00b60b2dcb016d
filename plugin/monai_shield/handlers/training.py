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
"""What a long training needs: a progress bar, a learning curve, and to go on after it was killed."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd
from tqdm import tqdm

from monai_shield.utils import atomic_path, seed_torch

__all__ = ["EpochSeed", "LearningCurve", "ResumableCheckpoint", "TrainingProgress"]

logger = logging.getLogger(__name__)


class TrainingProgress:
    """
    A progress bar over all iterations of a training, with the loss and the time left.

    Args:
        max_epochs: number of epochs of the whole training.
    """

    def __init__(self, max_epochs: int) -> None:
        self.max_epochs = max_epochs
        self.bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        # Not on STARTED: a checkpoint may move the iteration there.
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.COMPLETED | Events.TERMINATE, self.closed)

    def epoch_started(self, engine: Engine) -> None:
        if self.bar is None:
            total = self.max_epochs * (engine.state.epoch_length or 0)
            self.bar = tqdm(total=total, initial=engine.state.iteration, desc="training", unit="step", mininterval=1.0)

    def iteration_completed(self, engine: Engine) -> None:
        if self.bar is not None:
            self.bar.set_postfix(epoch=engine.state.epoch, loss=f"{_loss(engine):.4f}", refresh=False)
            self.bar.update()

    def closed(self, engine: Engine) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class LearningCurve:
    """
    Writes one row an epoch: epoch, mean training loss, every metric of the validator, seconds spent so far.

    Args:
        path: CSV file, rewritten whole after every epoch; a training that goes on keeps its rows.
        validator: evaluator whose metrics are recorded, if any. It must have run by the end of the epoch: attach its
            ``ValidationHandler`` first.
    """

    def __init__(self, path: str, validator: Engine | None = None) -> None:
        self.path = Path(path)
        self.validator = validator
        self.rows: list[dict[str, Any]] = []
        self.losses: list[float] = []
        self.clock = time.perf_counter()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)

    def epoch_started(self, engine: Engine) -> None:
        self.clock = time.perf_counter()
        if not self.rows and engine.state.epoch > 1 and self.path.is_file():
            with self.path.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) < engine.state.epoch]

    def iteration_completed(self, engine: Engine) -> None:
        self.losses.append(_loss(engine))

    def epoch_completed(self, engine: Engine) -> None:
        metrics = dict(self.validator.state.metrics) if self.validator is not None else {}
        seconds = time.perf_counter() - self.clock
        before = float(self.rows[-1]["seconds"]) if self.rows else 0.0
        row = {"epoch": engine.state.epoch, "train_loss": f"{sum(self.losses) / len(self.losses):.5f}"}
        row |= {name: f"{float(value):.5f}" for name, value in metrics.items()}
        self.rows.append(row | {"seconds": f"{before + seconds:.1f}"})
        self.losses.clear()
        with atomic_path(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(self.rows[-1]), extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self.rows)
        logger.info("epoch %s", ", ".join(f"{key} {value}" for key, value in self.rows[-1].items()))


class EpochSeed:
    """
    Seeds all that is random anew at the start of each epoch, by the epoch's number.

    So a training that goes on from a :class:`ResumableCheckpoint` draws the order, the augmentation and the noise that
    it would have drawn, and ends with the same weights as one that was never killed.

    Args:
        seed: of the whole training; not negative.
        randomizable: what draws from a random state of its own, such as random transforms: anything with a
            ``set_random_state``, whatever has such a thing in it, or a list of these.

    Raises:
        ValueError: where the seed is negative.
    """

    def __init__(self, seed: int, randomizable: Any = ()) -> None:
        if seed < 0:
            raise ValueError(f"seed of a training must not be negative, got {seed}.")
        self.seed = seed
        self.randomizable = randomizable

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)

    def epoch_started(self, engine: Engine) -> None:
        seed = int(np.random.SeedSequence([self.seed, engine.state.epoch]).generate_state(1)[0])
        seed_torch(seed, torch.device(getattr(engine.state, "device", None) or "cpu"))
        set_rnd(self.randomizable, seed)


class ResumableCheckpoint:
    """
    Saves everything a training needs after each epoch, and goes on from there when it is started again.

    Unlike a pair of MONAI's ``CheckpointSaver`` and ``CheckpointLoader`` it writes atomically, needs no file to start
    with, and reads with ``weights_only=True``.

    Args:
        path: checkpoint file.
        state: name to object with ``state_dict`` and ``load_state_dict``: network, optimizer, scheduler.
    """

    def __init__(self, path: str, state: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.state = dict(state)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.restore)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def restore(self, engine: Engine) -> None:
        if not self.path.is_file():
            return
        saved = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, part in self.state.items():
            part.load_state_dict(saved[name])
        engine.state.epoch = int(saved["epoch"])
        engine.state.iteration = int(saved["iteration"])
        torch.set_rng_state(saved["rng"])
        logger.info("going on after epoch %d from '%s'.", engine.state.epoch, self.path)

    def save(self, engine: Engine) -> None:
        saved = {name: part.state_dict() for name, part in self.state.items()}
        progress = {"epoch": engine.state.epoch, "iteration": engine.state.iteration, "rng": torch.get_rng_state()}
        with atomic_path(self.path) as temporary:
            torch.save(saved | progress, temporary)


def _loss(engine: Engine) -> float:
    output: Any = engine.state.output
    first = output[0] if isinstance(output, list) else output
    return float(first["loss"])
