# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a long training needs: a progress bar, a learning curve, and to go on after it was killed."""

import csv
import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from monai.data.utils import set_rnd

from monai_shield.detectors.record import settings_of
from monai_shield.fingerprints import fingerprint_of
from monai_shield.locks import RefusedError, one_run
from monai_shield.utils import atomic_path, read_weights, save_tensors, seed_torch

logger = logging.getLogger(__name__)


class TrainingProgress(ProgressBar):
    """Ignite's progress bar with the loss beside it. A trainer of MONAI can attach it, as it takes no argument."""

    def attach(self, engine: Engine) -> None:  # type: ignore[override]
        super().attach(engine, output_transform=lambda output: {"loss": _loss(output)})


class LearningCurve:
    """
    Writes one row an epoch: epoch, mean training loss, every metric of the validator, seconds spent so far.

    Args:
        path: CSV file, rewritten whole after every epoch. A training that goes on keeps its rows.
        validator: evaluator whose metrics are recorded, in the epochs in which it ran. It must have run by the end of
            the epoch: attach its ``ValidationHandler`` first.
    """

    def __init__(self, path: str, validator: Engine | None = None) -> None:
        self.path, self.validator = Path(path), validator
        self.rows: list[dict[str, Any]] = []
        self.losses: list[float] = []
        self.metrics: dict[str, Any] = {}
        self.start = 0.0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: self.losses.append(_loss(engine.state.output)))
        if self.validator is not None:
            self.validator.add_event_handler(Events.COMPLETED, lambda engine: self.metrics.update(engine.state.metrics))
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)

    def epoch_started(self, engine: Engine) -> None:
        if not self.rows and engine.state.epoch > 1 and self.path.is_file():
            with self.path.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) < engine.state.epoch]
        self.start = time.perf_counter() - (float(self.rows[-1]["seconds"]) if self.rows else 0.0)

    def epoch_completed(self, engine: Engine) -> None:
        row = {"epoch": engine.state.epoch, "train_loss": f"{sum(self.losses) / len(self.losses):.5f}"}
        row |= {name: f"{float(value):.5f}" for name, value in self.metrics.items()}
        self.rows.append(row | {"seconds": f"{time.perf_counter() - self.start:.1f}"})
        # a metric stands in its own epoch alone, also in a training that goes on
        self.losses.clear()
        self.metrics.clear()
        columns = dict.fromkeys(name for row in self.rows for name in row if name != "seconds")
        with atomic_path(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=[*columns, "seconds"])
            writer.writeheader()
            writer.writerows(self.rows)
        logger.info("epoch %s", ", ".join(f"{key} {value}" for key, value in self.rows[-1].items()))


class EpochSeed:
    """
    Seeds all that is random anew at the start of each epoch, by the epoch's number.

    A training that goes on from a :class:`ResumableCheckpoint` then draws the same order, augmentation and noise as one
    that was never killed, and ends with the same weights.

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
        self.seed, self.randomizable = seed, randomizable

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)

    def epoch_started(self, engine: Engine) -> None:
        seed = int(np.random.SeedSequence([self.seed, engine.state.epoch]).generate_state(1)[0])
        seed_torch(seed, torch.device(getattr(engine.state, "device", None) or "cpu"))
        set_rnd(self.randomizable, seed)


class ResumableCheckpoint:
    """
    Saves everything a training needs after each epoch, and goes on from there when it is started again.

    It does more than Ignite's ``Checkpoint``, which removes the old file before it writes the new one of that name:
    one training at a time, with the same settings, and a file that is whole on the disk before it replaces the old one.

    Args:
        path: checkpoint file.
        state: name to object with ``state_dict`` and ``load_state_dict``: network, optimizer, scheduler.
        settings: name to whatever else the training depends on: numbers, data sets, transforms. Only sums of them are
            saved. A checkpoint that was saved with others is refused; None to look at nothing.

    Raises:
        RefusedError: when a training starts while another one uses the file, or from a file that is damaged or of a
            training with other settings.
    """

    def __init__(self, path: str, state: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> None:
        self.path, self.state = Path(path), dict(state)
        self.settings = (
            None if settings is None else {name: fingerprint_of(settings_of(value)) for name, value in settings.items()}
        )
        self.lock = ExitStack()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.restore)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)
        engine.add_event_handler(Events.COMPLETED, self.lock.close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.failed)

    def restore(self, engine: Engine) -> None:
        self.lock.enter_context(one_run(self.path, of_file=True))
        if not self.path.is_file():
            return
        try:
            saved = read_weights(self.path)
        except ValueError as error:
            raise RefusedError(f"'{self.path}': {error} Remove it to begin anew.") from error
        if self.settings is not None:
            self._check(saved.get("settings") or {}, self.settings)
        for name, part in self.state.items():
            part.load_state_dict(saved[name])
        engine.state.epoch, engine.state.iteration = int(saved["epoch"]), int(saved["iteration"])
        torch.set_rng_state(saved["rng"])
        logger.info("going on after epoch %d from '%s'.", engine.state.epoch, self.path)

    def _check(self, saved: Mapping[str, str], settings: Mapping[str, str]) -> None:
        others = [name for name in {**settings, **saved} if settings.get(name) != saved.get(name)]
        if others:
            raise RefusedError(
                f"'{self.path}' is of a training with other settings ({', '.join(others)}): remove it to begin anew, "
                "or choose another folder."
            )

    def save(self, engine: Engine) -> None:
        saved: dict[str, Any] = {name: part.state_dict() for name, part in self.state.items()}
        saved |= {"epoch": engine.state.epoch, "iteration": engine.state.iteration, "rng": torch.get_rng_state()}
        save_tensors(saved | {"settings": self.settings}, self.path)

    def failed(self, engine: Engine, error: BaseException) -> None:
        self.lock.close()
        raise error  # ignite leaves that to those who listen


def _loss(output: Any) -> float:
    """The loss in the output of a trainer of MONAI, or of one that returns a dictionary."""
    return float((output[0] if isinstance(output, list) else output)["loss"])
