# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A study of defenses that takes a second, and a record of what it computes."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, LoadImaged, Orientationd
from sklearn.metrics import roc_auc_score
from torch import nn

from monai_shield.attacks import DAG, PGD, Attack
from monai_shield.detectors import MeanEntropy, PredictionConsistency, ZeroShare
from monai_shield.evaluation.cells import CellStore
from monai_shield.metrics import overlap_counts
from monai_shield.transforms import ScaleToWindowd
from reproduction import parts
from reproduction.adversarial_cells import FACTS
from reproduction.data import StudyData
from reproduction.grid import Grid, StudySettings
from reproduction.image_set import ImageSet
from reproduction.parts import AttackPart, DetectorPart, TargetPart
from reproduction.report.page import render_defenses
from reproduction.study import DefenseStudy
from reproduction.summary import DefenseSummary
from reproduction.training import Training

LAS = np.diag([-1.0, 1, 1, 1])


def image_sum(image: torch.Tensor) -> str:
    """Tells images apart."""
    return hashlib.sha256(image.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


class TinyTarget(nn.Module):
    """Two convolutions from an image to three classes, and how often all networks of this kind saw each image."""

    seen: ClassVar[Counter[str]] = Counter()
    calls = 0
    kill_at: int | None = None

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, 3, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        TinyTarget.calls += 1
        TinyTarget.seen.update(map(image_sum, image))
        if TinyTarget.calls == TinyTarget.kill_at:
            raise KeyboardInterrupt
        return self.layers(image)


class Record:
    """What studies compute: cells by heading, trainings, attacked slices, images that targets see."""

    def __init__(self) -> None:
        #: The attack that would be the one after this number is killed.
        self.limit: int | None = None
        self.clear()

    def clear(self) -> None:
        self.kept: list[tuple[str, str]] = []
        self.trained = 0
        self.attacked: list[tuple[str, list[int]]] = []
        TinyTarget.calls = 0
        TinyTarget.seen.clear()
        TinyTarget.kill_at = None

    def kill_at(self, call: int) -> None:
        """Kill the run in a target's forward pass of this number."""
        TinyTarget.kill_at = call

    @property
    def asked(self) -> int:
        """How often a target was asked."""
        return TinyTarget.calls

    @staticmethod
    def seen_images() -> Counter[str]:
        """How often targets saw every image."""
        return TinyTarget.seen

    def seen(self, images: torch.Tensor) -> set[int]:
        """How often targets saw each of these images."""
        return {TinyTarget.seen[image_sum(image)] for image in images}

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
def subjects(tmp_path: Path) -> dict[str, list[dict[str, str]]]:
    """Scans by split, 12 slices with foreground in each; the first two test scans are of one subject."""
    splits: dict[str, list[dict[str, str]]] = {"train": [], "val": [], "test": []}
    subjects = {"train": "ab", "val": "c", "test": "dde"}
    number = 0
    for split, items in splits.items():
        for subject in subjects[split]:
            generator = np.random.default_rng(number)
            image = np.zeros((16, 14, 16), dtype=np.int16)
            image[2:14, 1:13, 2:14] = generator.integers(300, 1000, (12, 12, 12))
            item = {"id": f"s{number}", "subject": subject}
            for key, values in {"image": image, "label": np.digitize(image, (500, 800)).astype(np.uint8)}.items():
                item[key] = str(tmp_path / f"{number}_{key}.nii")
                nib.save(nib.Nifti1Image(values, LAS), item[key])
            items.append(item)
            number += 1
    return splits


@pytest.fixture
def study_data(subjects: dict[str, list[dict[str, str]]]) -> Callable[..., StudyData]:
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
        return StudyData(**(subjects | {"preprocessing": preprocessing} | settings | changes))

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
            "baseline_detectors": {"zeros": ZeroShare, "entropy": MeanEntropy, "consistency": PredictionConsistency},
            "consistency_reformer": "convolution",
            "t_fp": 0.25,
        } | changes
        names = {each.name for each in fields(StudySettings)}
        grid = Grid(**{name: value for name, value in settings.items() if name not in names})
        numbers = StudySettings(**{name: value for name, value in settings.items() if name in names})
        return DefenseStudy(data or study_data(), grid, tmp_path / folder, numbers, "cpu")

    return make


@pytest.fixture(scope="session")
def rendered_study(stored_study, tmp_path_factory):
    """A folder with the results of a study of defenses, and one with its page and figures; to look at only."""
    folder, output = tmp_path_factory.mktemp("results"), tmp_path_factory.mktemp("rendered")
    results, spectra = stored_study
    (folder / "results.json").write_text(json.dumps(results))
    np.savez(folder / "spectra.npz", **spectra)
    assert render_defenses(folder, output) == output / "report.html"
    return folder, output


class MadeUp:
    """A study whose cells are filled by chance, what they were filled with, and what follows by hand."""

    def __init__(self, study: DefenseStudy) -> None:
        self.study = study
        self.scores: dict[tuple[ImageSet, tuple[str, int | None]], np.ndarray] = {}
        self.predictions: dict[tuple[ImageSet, str | None], np.ndarray] = {}
        self.labels: dict[ImageSet, np.ndarray] = {}
        self.scans: dict[ImageSet, np.ndarray] = {}
        self.facts: dict[tuple[str, str, str], dict[str, np.ndarray]] = {}
        self.generator = np.random.default_rng(0)
        for target in study.grid.targets:
            for attack in study.grid.attacks:
                self._adversarial(target, attack)
        for which in study.measured.sets():
            number = len(study.data.val) if which.kind == "val" else len(study.images.labels(which))
            for who, key in study.measured.score_keys(which).items():
                shift = 1.0 if which.kind in study.grid.attacks else 0.0
                # in tenths, so that there are ties
                self.scores[which, who] = self.generator.normal(shift, 1, number).round(1) + 10
                study.cells.put(*key, {"scores": torch.from_numpy(self.scores[which, who])})
            if which.kind != "val":
                self.labels[which] = study.images.labels(which).numpy()
                self.scans[which] = np.array([int(owner[1:]) - 3 for owner in study.images.owners(which)])
            for way in study.measured.count_keys(which):
                self._prediction(which, way)

    def _adversarial(self, target: str, attack: str) -> None:
        cells = []
        for volume, scan in self.study.data.volumes.items():
            chosen = self.study.grid.attacks[attack].chosen(len(scan.chosen))
            number = len(chosen)
            cells.append({name: torch.from_numpy(self.generator.random(number)) for name in (*FACTS, "step")})
            clean = scan.slices[scan.chosen[chosen]]
            # all pixels by so much, twice as much in the file
            step = 0.01 * cells[-1]["step"].float()[:, None, None, None]
            images = {"image": clean + step, "exported": clean + 2 * step}
            self.study.cells.put(*self.study.images.adversarial_key(target, attack, volume), cells[-1] | images)
        facts = {name: torch.cat([cell[name] for cell in cells]).numpy() for name in (*FACTS, "step")}
        for variant, times in {"raw": 1, "exported": 2}.items():
            size = {"norm_linf": times * 0.01 * facts["step"], "norm_l2": times * 0.01 * 16 * facts["step"]}
            told = {name: facts[name] for name in ("steps", "success")}
            self.facts[target, attack, variant] = told | size  # of 16 x 16 pixels

    def _prediction(self, which: ImageSet, way: str | None) -> None:
        """The label, but for some pixels of each slice, and a slice here and there where nothing is found."""
        label = self.labels[which]
        wrong = self.generator.random(label.shape) < self.generator.random((len(label), 1, 1, 1))
        guess = np.where(wrong, self.generator.integers(0, 3, label.shape), label)
        guess[self.generator.random(len(label)) < 0.1] = 0
        self.predictions[which, way] = guess
        counts = overlap_counts(torch.from_numpy(guess), torch.from_numpy(label), 3)
        self.study.cells.put(*self.study.measured.count_keys(which)[way], {"counts": counts})

    def put_scores(self, which: ImageSet, who: tuple[str, int | None], scores: np.ndarray) -> None:
        self.scores[which, who] = scores
        self.study.cells.put(*self.study.measured.score_keys(which)[who], {"scores": torch.from_numpy(scores)})

    def summarized(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of all tables."""
        return DefenseSummary(self.study, resamples=40).as_dict()

    def rows_of(self, attack: str) -> np.ndarray:
        """Which of the 18 clean slices, six a scan, an attack was made from: of every two the first."""
        return np.arange(18)[:: self.study.grid.attacks[attack].every]

    @staticmethod
    def clean_set(target: str, who: tuple[str, int | None], kind: str = "clean") -> ImageSet:
        """Whose prediction is looked at where a detector without training scores clean images."""
        return ImageSet(kind, target if who[1] is None else None)

    @staticmethod
    def dice_by_scan(prediction: np.ndarray, label: np.ndarray, scans: np.ndarray) -> np.ndarray:
        """Mean over structures of the Dice of each scan's slices together, those left out that are nowhere."""
        found = []
        for scan in range(3):
            mine, truth = prediction[scans == scan], label[scans == scan]
            sums = [((mine == k).sum() + (truth == k).sum(), ((mine == k) & (truth == k)).sum()) for k in (1, 2)]
            each = [2 * both / total for total, both in sums if total]
            found.append(np.mean(each) if each else math.nan)
        return np.array(found)

    def auc_by_hand(self, who: tuple[str, int | None], which: ImageSet) -> float:
        clean = self.scores[self.clean_set(which.target or "", who), who][self.rows_of(which.kind)]
        scores = np.nan_to_num(np.r_[clean, self.scores[which, who]], nan=1e9, posinf=1e9)
        return 100 * roc_auc_score(np.r_[np.zeros(len(clean)), np.ones(len(scores) - len(clean))], scores)

    def own_by_hand(self, who: tuple[str, int | None], which: ImageSet) -> float:
        """Share of the attacked slices above their own clean one, a tie counted half; every scan has as many."""
        clean = self.scores[self.clean_set(which.target or "", who), who][self.rows_of(which.kind)]
        scores = self.scores[which, who]
        return sum(1.0 if a > c else 0.5 if a == c else 0.0 for c, a in zip(clean, scores)) / len(scores)


@pytest.fixture
def made_up(tiny_study, study_data) -> MadeUp:
    parts = tiny_study().grid
    return MadeUp(
        tiny_study(
            data=study_data(slices_per_volume=6),
            targets={"one": parts.targets["tiny"], "two": parts.targets["tiny"]},
            attacks={
                "A": AttackPart(PGD(0.1), pooled=True),
                "B": AttackPart(PGD(0.2), every=2, pooled=True),
                "C": AttackPart(PGD(0.3)),
            },
            detectors={name: replace(part, seeds=2) for name, part in parts.detectors.items()},
            reformers={"convolution": "spatial", "blur": nn.AvgPool2d(3, stride=1, padding=1)},
            defenses={
                "1": ("spatial", "convolution"),
                "2": ("shifted", "convolution"),
                "3": ("spatial", "shifted", "convolution"),
                "4": ("zeros", "blur"),
            },
            comparisons=[("spatial", "spatial"), ("spatial", "shifted"), ("shifted", "spatial"), ("spatial", "zeros")],
        )
    )
