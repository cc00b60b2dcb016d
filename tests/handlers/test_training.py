# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A training that is killed goes on, and ends as if it never was."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, MeanSquaredError, ValidationHandler, from_engine
from monai.transforms import Compose, RandGaussianNoise
from torch import nn

from monai_shield.handlers import EpochSeed, LearningCurve, ResumableCheckpoint, TrainingProgress
from monai_shield.locks import RefusedError


def train(
    folder: Path, epochs: int, interval: int = 1, settings: dict[str, Any] | None = None, handlers: Sequence[Any] = ()
) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    data = [{"image": x, "label": 2 * x} for x in torch.rand(6, 1, 4, 4, generator=generator)]
    loader = DataLoader(Dataset(data), batch_size=2)
    network = nn.Conv2d(1, 1, 1)
    nn.init.constant_(network.weight, 0.1)
    nn.init.constant_(network.bias, 0.0)
    optimizer = torch.optim.Adam(network.parameters(), 0.05)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    validator = SupervisedEvaluator(
        torch.device("cpu"),
        loader,
        network,
        key_val_metric={"mse": MeanSquaredError(output_transform=from_engine(["pred", "label"]))},
    )
    state = {"network": network, "optimizer": optimizer, "scheduler": scheduler}
    trainer = SupervisedTrainer(
        torch.device("cpu"),
        epochs,
        loader,
        network,
        optimizer,
        nn.MSELoss(),
        train_handlers=[
            LrScheduleHandler(scheduler, print_lr=False),
            ValidationHandler(interval, validator),
            LearningCurve(str(folder / "curve.csv"), validator),
            TrainingProgress(),
            ResumableCheckpoint(str(folder / "checkpoint.pt"), state, settings),
            *handlers,
        ],
    )
    trainer.run()
    return network


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "curve.csv").open(newline="") as file:
        return [{key: row[key] for key in ("epoch", "train_loss", "mse")} for row in csv.DictReader(file)]


def test_stopped_and_started_again_equals_one_go(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    once = train(whole, 5)
    train(parts, 2)
    twice = train(parts, 5)
    torch.testing.assert_close(once.state_dict(), twice.state_dict())
    assert rows(whole) == rows(parts)
    assert [row["epoch"] for row in rows(whole)] == ["1", "2", "3", "4", "5"]
    assert float(rows(whole)[-1]["train_loss"]) < float(rows(whole)[0]["train_loss"])


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    first = train(tmp_path, 2)
    second = train(tmp_path, 2)
    torch.testing.assert_close(first.state_dict(), second.state_dict())


def test_a_metric_stands_in_the_epochs_in_which_it_was_measured_also_after_going_on(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(whole, 5, interval=2)
    train(parts, 3, interval=2)  # the next one to be validated is the fourth
    assert [bool(row["mse"]) for row in rows(parts)] == [False, True, False]
    train(parts, 5, interval=2)
    assert rows(whole) == rows(parts)
    assert [bool(row["mse"]) for row in rows(whole)] == [False, True, False, True, False]


def test_a_training_does_not_go_on_with_what_another_one_began(tmp_path: Path) -> None:
    settings = {"rate": 0.1, "data": [{"image": torch.zeros(3, 3)}], "transform": RandGaussianNoise(std=0.1)}
    train(tmp_path, 1, settings=settings)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    for name, value in (
        ("rate", 0.2),
        ("data", [{"image": torch.ones(3, 3)}]),
        ("transform", RandGaussianNoise(std=0.2)),
    ):
        with pytest.raises(RefusedError, match=rf"checkpoint\.pt' is of a training with other settings \({name}\)"):
            train(tmp_path, 2, settings=settings | {name: value})
    train(tmp_path / "old", 1)
    with pytest.raises(RefusedError, match="other settings"):  # those of a checkpoint that tells none are not known
        train(tmp_path / "old", 2, settings=settings)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    train(tmp_path, 2, settings=settings)
    assert (tmp_path / "checkpoint.pt").read_bytes() != before


def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"torn")
    with pytest.raises(RefusedError, match=r"^'.*checkpoint\.pt': it is damaged.* Remove it to begin anew\.$"):
        train(tmp_path, 1)


def test_the_bar_shows_the_loss_and_goes_on_where_the_training_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, 2)
    capsys.readouterr()
    train(tmp_path, 3)
    bar = capsys.readouterr().err
    assert "Epoch [3/3]: [2/3]" in bar
    assert "Epoch [1/3]" not in bar
    assert "loss=" in bar


class _Second:
    """Starts a second training in the same folder while the first is in its first epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said = ""

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED(once=1), self.start)

    def start(self, engine: Engine) -> None:
        with pytest.raises(RefusedError) as refused:
            train(self.folder, 2)
        self.said = str(refused.value)


def test_one_training_at_a_time(tmp_path: Path) -> None:
    second = _Second(tmp_path / "both")
    both = train(tmp_path / "both", 2, handlers=[second])
    assert second.said.startswith(f"another run writes to '{tmp_path / 'both' / 'checkpoint.pt'}'")
    torch.testing.assert_close(both.state_dict(), train(tmp_path / "alone", 2).state_dict())
    train(tmp_path / "both", 3)  # the lock is gone with the first


def test_a_training_that_fails_frees_its_checkpoint(tmp_path: Path) -> None:
    class Failing:
        def attach(self, engine: Engine) -> None:
            engine.add_event_handler(Events.EPOCH_COMPLETED(once=2), self.fail)

        def fail(self, engine: Engine) -> None:
            raise ZeroDivisionError

    failing = Failing()
    with pytest.raises(ZeroDivisionError):
        train(tmp_path, 3, handlers=[failing])
    train(tmp_path, 3)
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "2", "3"]


def draws(seed: int, epochs: int, start: int = 0) -> list[tuple[float, float, float]]:
    """What torch, a transform and a transform inside something else draw, an epoch each."""
    alone, inside = RandGaussianNoise(prob=1.0), SimpleNamespace(noise=Compose([RandGaussianNoise(prob=1.0)]))
    seen = []

    def step(engine: Engine, batch: int) -> None:
        torch.rand(2), alone(torch.zeros(1))  # more draws than one, as a training has
        seen.append((torch.rand(()).item(), alone(torch.zeros(1)).item(), inside.noise(torch.zeros(1)).item()))

    trainer = Engine(step)
    trainer.add_event_handler(Events.STARTED, lambda: setattr(trainer.state, "epoch", start))
    EpochSeed(seed, [alone, inside]).attach(trainer)
    with torch.random.fork_rng(devices=()):
        trainer.run([0], max_epochs=epochs)
    return seen


def test_an_epoch_draws_the_same_whenever_it_comes() -> None:
    whole = draws(7, 4)
    assert draws(7, 4) == whole
    assert draws(7, 4, start=2) == whole[2:]


def test_epochs_and_seeds_draw_differently() -> None:
    both = [*draws(0, 3), *draws(1, 3)]
    for of_one_source in zip(*both, strict=True):
        assert len(set(of_one_source)) == len(both)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"seed .* -1"):
        EpochSeed(-1)
