# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The world in which commands are killed: a repository with a tiny bundle, and scans; and these commands."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monai_shield.bundle import bundle_command
from support.tiny_bundle import brain_values, calibration_brains, make_brain_folder, make_tiny_bundle, write_nifti

REPOSITORY = Path(__file__).parents[2]
TISSUES = {"dark": [1], "middle": [2], "bright": [3]}
NAMES = ("a", "b", "c")


@dataclass(frozen=True)
class Command:
    """
    A command that is killed.

    Args:
        name: what it is called in the table.
        arguments: what follows ``python``; ``{out}`` is the folder of its results, below the world's folder.
        other: arguments of another run on the same folder, whose results must not be taken for those of this one.
        status: its exit status.
        record: ending of the file that tells of the files beside it, of the same stem.
        told: endings of these.
        strict: whether one of these without its record is wrong, not only unfinished.
        refuses: whether it refuses to go on in a folder of its other run.
    """

    name: str
    arguments: tuple[str, ...]
    other: tuple[str, ...]
    status: int = 0
    record: str = ""
    told: tuple[str, ...] = ()
    strict: bool = False
    refuses: bool = False

    def argv(self, out: Path, other: bool = False) -> list[str]:
        """The arguments of a process, of this run or of the other one."""
        return [
            sys.executable,
            *(argument.replace("{out}", str(out)) for argument in (self.other if other else self.arguments)),
        ]


def _run(target: str, files: Sequence[str], *settings: str) -> tuple[str, ...]:
    return (*bundle_command(target, files), *settings)


def _with(arguments: tuple[str, ...], **changed: str) -> tuple[str, ...]:
    """The same arguments with other values behind some flags; a flag that is not there is added."""
    found = list(arguments)
    for name, value in changed.items():
        if f"--{name}" in found:
            found[found.index(f"--{name}") + 1] = value
        else:
            found += [f"--{name}", value]
    return tuple(found)


def commands() -> dict[str, Command]:
    """Name to command, in the order of a shield's life; run in the world's folder."""
    configs = "bundles/brain_mri_shield/configs"
    data = ("--dataset_dir", "brains", "--device", "cpu")
    short = (*data, "--max_epochs", "3", "--batch_size", "4", "--every_nth_slice", "3", "--run_dir", "{out}")
    target = _run("training", [f"{configs}/train.json", "tissues.json"], *short, "--val_interval", "2")
    detector, reformer = (
        _run("training", [f"{configs}/train_{name}.json"], *short) for name in ("detector", "reformer")
    )
    calibration = _run("calibration", [f"{configs}/calibrate.json"], *data, "--split", "all", "--run_dir", "{out}")
    calibration = _with(calibration, every_nth_slice="4")
    infer = _run("", [f"{configs}/inference.json"], "--dataset_dir", "scans", "--output_dir", "{out}")
    infer = _with(infer, device="cpu")
    overlays = [f"{configs}/inference.json", f"{configs}/evaluate.json", "evaluation.json"]
    evaluation = _run("evaluation", overlays, *data, "--evaluation_dir", "{out}")
    several = [*overlays[:2], "configs/studies/attacks.json", "attack_study.json"]
    attack_study = _run("attack_study", several, *data, "--attack_study_dir", "{out}")
    study = _run("study", ["configs/studies/paper_smoke.json", "study.json"], "--run_dir", "{out}")
    attack: tuple[str, ...] = ("-m", "monai_shield", "attack", "--bundle", "bundles/brain_mri_shield", "--trust")
    attack += ("--attack", "pgd", "--epsilon", "0.03", "--max_steps", "3", "--input", "clean", "--output", "{out}")
    attack += ("--slices", "2", "--device", "cpu")
    attacked = ("_attacked.nii.gz", "_clean_seg.nii.gz", "_attacked_seg.nii.gz")
    made = [
        Command("training, target", target, _with(target, seed="1"), refuses=True),
        Command("training, detector", detector, _with(detector, dataset_dir="brains_other"), refuses=True),
        Command("training, reformer", reformer, _with(reformer, learning_rate="0.01"), refuses=True),
        Command("calibration", calibration, _with(calibration, dataset_dir="brains_other", t_fp="0.1")),
        Command("inference", infer, _with(infer, dataset_dir="scans_other"), 1, "_shield.json", ("_seg.nii.gz",), True),
        Command("evaluation", evaluation, _with(evaluation, slices_per_volume="3")),
        Command("study of attacks", attack_study, _with(attack_study, dataset_dir="brains_other")),
        Command("study of defenses", study, _with(study, seed="1")),
        Command("attack", attack, _with(attack, epsilon="0.06", input="clean_other"), 0, "_attack.json", attacked),
    ]
    return {command.name: command for command in made}


def make_world(folder: Path) -> Path:
    """Make that world in a folder, whole or not at all; returns it."""
    if folder.is_dir():
        return folder
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / "calibration").mkdir()
    files = calibration_brains(partial / "calibration")
    make_tiny_bundle(partial / "bundles" / "brain_mri_shield", files)
    shutil.copytree(REPOSITORY / "configs", partial / "configs")
    for name, seed in (("brains", 0), ("brains_other", 10)):
        (partial / name).mkdir()
        make_brain_folder(partial / name, seed)
    for name, order in (("scans", (0, 1, 2)), ("scans_other", (2, 0, 1))):
        (partial / name).mkdir()
        for letter, kind in zip(NAMES, order):
            _scan(partial / name / f"{letter}.nii.gz", kind, seed=int(name == "scans_other"))
    for name, seed in (("clean", 0), ("clean_other", 1)):
        (partial / name).mkdir()
        for letter in NAMES[:2]:
            write_nifti(partial / name / f"{letter}.nii.gz", brain_values(seed + (letter == "b"), (48, 24, 48)))
    for name, content in _overlays().items():
        (partial / f"{name}.json").write_text(json.dumps(content, indent=1))
    partial.rename(folder)
    return folder


def _scan(path: Path, kind: int, seed: int) -> None:
    """One that is accepted, one that is rejected for its noise, or one that cannot be read."""
    values = brain_values(seed, (64, 24, 60))
    if kind == 1:
        noise = np.random.default_rng(seed).normal(0, 20, values.shape)
        values = np.where(values > 0, np.clip(values + noise, 1, None), 0)
    write_nifti(path, values)
    if kind == 2:
        path.write_bytes(path.read_bytes()[:-500])


def _overlays() -> dict[str, Any]:
    """What makes a bundle's commands short."""
    study: dict[str, Any] = {
        "dataset_dir": "brains",
        "label_map": TISSUES,
        "spatial_size": [48, 48],
        "seeds": 1,
        "device": "cpu",
        "only": {
            "targets": ["UNet"],
            "attacks": ["DAG A", "PGD 4/255"],
            "detectors": ["UNet spatial", "UNet shifted"],
            "baseline_detectors": ["radial log power, Mahalanobis"],
            "robust_targets": [],
            "baseline_defenses": [],
        },
    }
    pgd = {"_target_": "monai_shield.attacks.PGD", "epsilon": 0.03, "max_steps": 2, "confine_to_mask": True}
    dag = {"_target_": "monai_shield.attacks.DAG", "target": "background", "step": 0.5, "norm": "l2", "max_steps": 3}
    # of as many classes as the bundle's network has
    structures = {"label_map": {f"structure {number}": [number] for number in range(1, 28)}}
    evaluation = structures | {
        "split": "all",
        "slices_per_volume": 2,
        "attacks": {"DAG": dag, "PGD": pgd},
        "variants": {"PGD": ["exported"]},
        "baselines": {"zeros": {"_target_": "monai_shield.detectors.ZeroShare"}},
    }
    attacks = structures | {
        "split": "all",
        "attacks": {"DAG": dag, "PGD": pgd},
        "exported": ["PGD"],
        "slices_per_volume": 2,
    }
    return {
        "tissues": {"label_map": TISSUES},
        "study": study,
        "evaluation": evaluation,
        "attack_study": attacks,
    }
