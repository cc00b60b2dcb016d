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
"""A study of defenses that takes a second, and a record of what it computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, LoadImaged, Orientationd
from torch import nn

from monai_shield.attacks import DAG, PGD, Attack
from monai_shield.detectors import MeanEntropy, PredictionConsistency, ZeroShare
from monai_shield.studies import AttackPart, DefenseStudy, DetectorPart, StudyData, TargetPart, Training, parts
from monai_shield.studies.cells import CellStore
from monai_shield.transforms import ScaleToWindowd

LAS = np.diag([-1.0, 1, 1, 1])


class TinyTarget(nn.Module):
    """Two convolutions from an image to three classes, and how often any network of this kind was asked."""

    calls = 0
    kill_at: int | None = None

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, 3, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        TinyTarget.calls += 1
        if TinyTarget.calls == TinyTarget.kill_at:
            raise KeyboardInterrupt
        return self.layers(image)


class Record:
    """What studies compute: cells by heading, trainings, attacked slices, forward passes of targets."""

    def __init__(self) -> None:
        #: The attack that would be the one after this number is killed.
        self.limit: int | None = None
        self.clear()

    def clear(self) -> None:
        self.kept: list[tuple[str, str]] = []
        self.trained = 0
        self.attacked: list[tuple[str, list[int]]] = []
        TinyTarget.calls = 0
        TinyTarget.kill_at = None

    def kill_at(self, call: int) -> None:
        """Kill the run in a target's forward pass of this number."""
        TinyTarget.kill_at = call

    @property
    def forwards(self) -> int:
        return TinyTarget.calls

    @property
    def headings(self) -> Counter[str]:
        """Number of cells by the first three parts of their heading: what, of which target, by which attack."""
        return Counter("/".join(heading.split("/")[:3]) for heading, _ in self.kept)


@pytest.fixture
def tiny_target() -> type[nn.Module]:
    """Makes a target from a number of channels."""
    return TinyTarget


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Record:
    found = Record()
    put, attack, train = CellStore.put, Attack.__call__, parts.train_network

    def recorded_put(self: CellStore, volume: str, name: str, *rest: Any) -> Any:
        found.kept.append((volume, name))
        return put(self, volume, name, *rest)

    def recorded_attack(self: Attack, *args: Any, **kwargs: Any) -> Any:
        if len(found.attacked) == found.limit:
            raise KeyboardInterrupt
        found.attacked.append((repr(self), list(kwargs["index"])))
        return attack(self, *args, **kwargs)

    def recorded_training(*args: Any, **kwargs: Any) -> None:
        found.trained += 1
        train(*args, **kwargs)

    monkeypatch.setattr(CellStore, "put", recorded_put)
    monkeypatch.setattr(Attack, "__call__", recorded_attack)
    monkeypatch.setattr(parts, "train_network", recorded_training)
    return found


@pytest.fixture
def people(tmp_path: Path) -> dict[str, list[dict[str, str]]]:
    """Scans by split, 12 slices with body in each; the first two test scans are of one person."""
    splits: dict[str, list[dict[str, str]]] = {"train": [], "val": [], "test": []}
    persons = {"train": "ab", "val": "c", "test": "dde"}
    number = 0
    for split, items in splits.items():
        for person in persons[split]:
            generator = np.random.default_rng(number)
            image = np.zeros((16, 14, 16), dtype=np.int16)
            image[2:14, 1:13, 2:14] = generator.integers(300, 1000, (12, 12, 12))
            item = {"id": f"s{number}", "person": person}
            for key, values in {"image": image, "label": np.digitize(image, (500, 800)).astype(np.uint8)}.items():
                item[key] = str(tmp_path / f"{number}_{key}.nii")
                nib.save(nib.Nifti1Image(values, LAS), item[key])
            items.append(item)
            number += 1
    return splits


@pytest.fixture
def study_data(people: dict[str, list[dict[str, str]]]) -> Callable[..., StudyData]:
    """Makes the data of a study, ``study_data(**changes)``."""

    def make(**changes: Any) -> StudyData:
        keys = ["image", "label"]
        preprocessing = Compose(
            [
                LoadImaged(keys, ensure_channel_first=True, image_only=True),
                Orientationd(keys, axcodes="LAS", labels=None),
                ScaleToWindowd("image"),
            ]
        )
        settings: dict[str, Any] = {"structures": ["middle", "bright"], "slices_per_volume": 2}
        return StudyData(**(people | {"preprocessing": preprocessing} | settings | changes))

    return make


@pytest.fixture
def tiny_study(study_data: Callable[..., StudyData], tmp_path: Path) -> Callable[..., DefenseStudy]:
    """Makes a study, ``tiny_study(folder="study", **changes)``; two attacks, two detectors, one of which reforms."""

    def make(folder: str = "study", data: StudyData | None = None, **changes: Any) -> DefenseStudy:
        training = Training(1, batch_size=4, every=3)
        network = partial(nn.Conv2d, 1, 1, 3, padding=1)
        settings: dict[str, Any] = {
            "targets": {"tiny": TargetPart(partial(TinyTarget, 4), training)},
            "attacks": {
                "PGD": AttackPart(PGD(0.1, max_steps=2, attack_background=False), pooled=True),
                "DAG": AttackPart(DAG(step=0.05, max_steps=2, attack_background=False), pooled=True),
            },
            "detectors": {
                "spatial": DetectorPart(network, training),
                "shifted": DetectorPart(network, training, "shifted_frequency"),
            },
            "reformers": {"convolution": "spatial"},
            "defenses": {"1": ("spatial", "convolution"), "2": ("shifted", "convolution")},
            "baselines": {"zeros": ZeroShare, "entropy": MeanEntropy, "consistency": PredictionConsistency},
            "consistency_reformer": "convolution",
            "t_fp": 0.25,
        }
        return DefenseStudy(data or study_data(), **(settings | changes), output_dir=tmp_path / folder)

    return make
