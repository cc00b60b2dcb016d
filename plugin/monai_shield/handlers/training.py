# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a long training needs: a progress bar, a learning curve, and to go on after it was killed."""

import csv
import hashlib
import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd
from tqdm import tqdm

from monai_shield.detectors.record import settings_of
from monai_shield.locks import RefusedError, one_run
from monai_shield.utils import atomic_path, save_tensors, seed_torch

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
        validator: evaluator whose metrics are recorded, if any, in the epochs in which it ran. It must have run by the
            end of the epoch: attach its ``ValidationHandler`` first.
    """

    def __init__(self, path: str, validator: Engine | None = None) -> None:
        self.path = Path(path)
        self.validator = validator
        self.rows: list[dict[str, Any]] = []
        self.losses: list[float] = []
        self.metrics: dict[str, Any] = {}
        self.clock = time.perf_counter()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        if self.validator is not None:
            self.validator.add_event_handler(Events.COMPLETED, self.validated)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)

    def epoch_started(self, engine: Engine) -> None:
        self.clock = time.perf_counter()
        if not self.rows and engine.state.epoch > 1 and self.path.is_file():
            with self.path.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) < engine.state.epoch]

    def iteration_completed(self, engine: Engine) -> None:
        self.losses.append(_loss(engine))

    def validated(self, validator: Engine) -> None:
        self.metrics = dict(validator.state.metrics)

    def epoch_completed(self, engine: Engine) -> None:
        # those of an earlier epoch, which the validator still has, would be lost in a training that goes on
        metrics, self.metrics = self.metrics, {}
        seconds = time.perf_counter() - self.clock
        before = float(self.rows[-1]["seconds"]) if self.rows else 0.0
        row = {"epoch": engine.state.epoch, "train_loss": f"{sum(self.losses) / len(self.losses):.5f}"}
        row |= {name: f"{float(value):.5f}" for name, value in metrics.items()}
        self.rows.append(row | {"seconds": f"{before + seconds:.1f}"})
        self.losses.clear()
        columns = dict.fromkeys(name for row in self.rows for name in row if name != "seconds")
        with atomic_path(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=[*columns, "seconds"])
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
    with, reads with ``weights_only=True``, and goes on with nothing but what it began: one training at a time, with the
    same settings.

    Args:
        path: checkpoint file.
        state: name to object with ``state_dict`` and ``load_state_dict``: network, optimizer, scheduler.
        settings: name to whatever else the training depends on: numbers, data sets, transforms. Only sums of them are
            saved. A checkpoint that was saved with others is refused; None to look at nothing.

    Raises:
        RefusedError: when a training starts while another process trains with this file, or from one with other
            settings.
    """

    def __init__(self, path: str, state: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> None:
        self.path = Path(path)
        self.state = dict(state)
        self.settings = None if settings is None else {name: _sum(value) for name, value in settings.items()}
        self.lock = ExitStack()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.restore)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)
        engine.add_event_handler(Events.COMPLETED, self.released)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.failed)

    def restore(self, engine: Engine) -> None:
        self.lock.enter_context(one_run(self.path, of_file=True))
        if not self.path.is_file():
            return
        saved = torch.load(self.path, map_location="cpu", weights_only=True)
        if self.settings is not None:
            self._check(saved.get("settings") or {}, self.settings)
        for name, part in self.state.items():
            part.load_state_dict(saved[name])
        engine.state.epoch = int(saved["epoch"])
        engine.state.iteration = int(saved["iteration"])
        torch.set_rng_state(saved["rng"])
        logger.info("going on after epoch %d from '%s'.", engine.state.epoch, self.path)

    def _check(self, saved: Mapping[str, str], settings: Mapping[str, str]) -> None:
        others = [name for name in dict.fromkeys((*settings, *saved)) if settings.get(name) != saved.get(name)]
        if others:
            raise RefusedError(
                f"'{self.path}' is of a training with other settings ({', '.join(others)}): remove it to begin anew, "
                "or choose another folder."
            )

    def save(self, engine: Engine) -> None:
        saved: dict[str, Any] = {name: part.state_dict() for name, part in self.state.items()}
        saved |= {"epoch": engine.state.epoch, "iteration": engine.state.iteration, "rng": torch.get_rng_state()}
        save_tensors(saved | {"settings": self.settings}, self.path)

    def released(self, engine: Engine) -> None:
        self.lock.close()

    def failed(self, engine: Engine, error: BaseException) -> None:
        self.lock.close()
        raise error  # ignite leaves that to those who listen


def _sum(value: Any) -> str:
    """SHA-256 sum of all that something tells of itself, but for where it lies."""
    return hashlib.sha256(repr(list(settings_of(value))).encode()).hexdigest()


def _loss(engine: Engine) -> float:
    output: Any = engine.state.output
    first = output[0] if isinstance(output, list) else output
    return float(first["loss"])
