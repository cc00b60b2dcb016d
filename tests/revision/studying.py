# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Facts of the studies: small ones are run from files to tables."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, LoadImaged, Orientationd
from torch import nn

from revision.adapting import attack_study_summary, call, of_study, study_summary
from revision.compact import Facts
from revision.inputs import Blur, Bright, TinyTarget, nifti
from revision.naming import Names
from revision.tabling import ATTACKED, EVALUATED, STORED, table_facts

ROOM = "monai_shield.studies"
#: Detectors that are compared.
PAIRS = [("spatial", "spatial"), ("spatial", "shifted"), ("shifted", "spatial"), ("spatial", "zeros")]


def study_facts(names: Names, facts: Facts, root: Path, folder: Path) -> None:
    """Add them all."""
    from revision.studied import generator, trained_study

    table_facts(names, facts, root)
    subjects = _subjects(names, folder / "subjects")
    everybody = [item for items in subjects.values() for item in items]
    facts.step(_evaluation, names, facts, everybody[:4], folder)
    facts.step(_attack_study, names, facts, everybody[:4], folder)
    facts.step(_made_up, names, facts, subjects, folder)
    if facts.portable:
        return
    # networks that are trained in float32 end elsewhere on another machine
    facts.tolerance = None
    facts.step(trained_study, names, facts, subjects, folder)
    facts.step(generator, names, facts, folder)
    facts.tolerance = 1e-5


def _subjects(names: Names, folder: Path) -> dict[str, list[dict[str, str]]]:
    """Scans by split; the first two test scans are of one subject."""
    splits: dict[str, list[dict[str, str]]] = {"train": [], "val": [], "test": []}
    of = {"train": "ab", "val": "c", "test": "dde"}
    number = 0
    for split, items in splits.items():
        for subject in of[split]:
            generator = np.random.default_rng(number)
            image = np.zeros((16, 14, 16), dtype=np.int16)
            image[2:14, 1:13, 2:14] = generator.integers(300, 1000, (12, 12, 12))
            image[2 : 4 + number, :3] = 0
            item = {"id": f"s{number}", names.word("person", "datalist"): subject}
            for key, values in {"image": image, "label": np.digitize(image, (500, 800)).astype(np.uint8)}.items():
                item[key] = str(nifti(folder / f"{number}_{key}.nii", values, dtype=values.dtype))
            items.append(item)
            number += 1
    return splits


def _preprocessing(names: Names) -> Compose:
    keys = ["image", "label"]
    load = LoadImaged(keys, ensure_channel_first=True, image_only=True)
    scale = names.call("monai_shield.transforms.ScaleToWindowd", keys="image")
    return Compose([load, Orientationd(keys, axcodes="LAS", labels=None), scale])


def _cells(names: Names, facts: Facts, name: str, results: Any) -> None:
    """The cells of a run by heading, those of all volumes together."""
    found: dict[str, list[Any]] = {}
    for volume, cells in results.items():
        facts.add(f"{name}/{volume}", ",".join(sorted(cells)))
        for heading, cell in cells.items():
            for key, value in cell.items():
                found.setdefault(f"{heading}/{names.key_before(key)}", []).append(value)
    for key, values in found.items():
        if "seconds" in key:
            continue
        if all(isinstance(value, torch.Tensor) for value in values):
            facts.add(f"{name}/{key}", torch.cat([value.flatten() for value in values]))
        else:
            facts.table(f"{name}/{key}", values)


def _evaluation(names: Names, facts: Facts, items: list[dict[str, str]], folder: Path) -> None:
    detector = names.call("monai_shield.detectors.HighFrequencyEnergy")
    kind = names.find("monai_shield.detectors.Calibration")
    volumes = names.settings("monai_shield.detectors.Calibration.fit", {"volumes": ["a", "b"] * 30})
    detector.calibration = names.method(kind, "fit", torch.linspace(0.0, 0.6, 60), **volumes)
    made = call(
        names,
        f"{ROOM}.ShieldEvaluation",
        datalist=items,
        preprocessing=_preprocessing(names),
        network=Bright(3),
        shield=names.call("monai_shield.inferers.ShieldInferer", detector, Blur(), slice_axis=1),
        attacks={"PGD": names.call("monai_shield.attacks.PGD", epsilon=0.2, max_steps=4)},
        variants={},
        baselines={"zeros": names.call("monai_shield.detectors.ZeroShare")},
        filters={"blur": Blur(), "nothing": nn.Identity()},
        num_classes=3,
        slices_per_volume=4,
        output_dir=folder / "evaluation",
    )
    results = names.method(made, "run")
    _cells(names, facts, "study/evaluation", results)
    structures = ["middle", "bright"]
    summary = names.call(f"{ROOM}.EvaluationSummary", results, detector.calibration, structures, resamples=50)
    facts.table("study/evaluation/summary", names.method(summary, "as_dict"), EVALUATED)


def _attack_study(names: Names, facts: Facts, items: list[dict[str, str]], folder: Path) -> None:
    room = "monai_shield.attacks"
    within = {"attack_background": False, "confine_to_mask": True}
    attacks = {
        "noise": names.call(f"{room}.UniformNoise", epsilon=0.2, **within),
        "PGD": names.call(f"{room}.PGD", epsilon=0.2, max_steps=10, **within),
        "DAG": names.call(f"{room}.DAG", step=0.05, max_steps=30, confine_to_mask=True),
    }
    study = call(
        names,
        f"{ROOM}.AttackStudy",
        datalist=items,
        preprocessing=_preprocessing(names),
        network=Bright(3),
        attacks=attacks,
        exported=("PGD",),
        num_classes=3,
        slices_per_volume=2,
        output_dir=folder / "attack_study",
    )
    results = names.method(study, "run")
    _cells(names, facts, "study/attack", results)
    summary = names.before(attack_study_summary(names, study, results, 50), ATTACKED)
    for attack in summary["attacks"].values():
        attack.pop("seconds", None)
    facts.table("study/attack/summary", summary)


def made_study(names: Names, subjects: dict[str, Any], output_dir: Path, **changes: Any) -> Any:
    """A study of defenses with two attacks and two detectors, one of which reforms."""
    of, room = names.call, "monai_shield.attacks"
    data = of(
        f"{ROOM}.StudyData",
        **subjects,
        preprocessing=_preprocessing(names),
        structures=["middle", "bright"],
        slices_per_volume=changes.pop("slices_per_volume", 2),
    )
    training = of(f"{ROOM}.Training", 1, batch_size=4, every=3)
    convolution = partial(nn.Conv2d, 1, 1, 3, padding=1)
    pgd = of(f"{room}.PGD", epsilon=0.1, max_steps=2, attack_background=False)
    dag = of(f"{room}.DAG", step=0.05, max_steps=2, attack_background=False)
    detectors = "monai_shield.detectors"
    settings: dict[str, Any] = {
        "data": data,
        "targets": {"tiny": of(f"{ROOM}.TargetPart", partial(TinyTarget, 4), training)},
        "attacks": {
            "PGD": of(f"{ROOM}.AttackPart", pgd, pooled=True),
            "DAG": of(f"{ROOM}.AttackPart", dag, pooled=True),
        },
        "detectors": {
            "spatial": of(f"{ROOM}.DetectorPart", convolution, training),
            "shifted": of(f"{ROOM}.DetectorPart", convolution, training, "shifted_frequency"),
        },
        "reformers": {"convolution": "spatial"},
        "defenses": {"1": ("spatial", "convolution"), "2": ("shifted", "convolution")},
        "baselines": {
            "zeros": names.find(f"{detectors}.ZeroShare"),
            "entropy": names.find(f"{detectors}.MeanEntropy"),
            "consistency": names.find(f"{detectors}.PredictionConsistency"),
        },
        "consistency_reformer": "convolution",
        "t_fp": 0.25,
        "output_dir": output_dir,
    }
    if not names.is_before:
        settings["comparisons"] = PAIRS
    return call(names, f"{ROOM}.DefenseStudy", **(settings | changes))


def summarized(names: Names, facts: Facts, name: str, study: Any) -> None:
    """The rows of all tables, and the numbers of the tables themselves."""
    summary = study_summary(names, study, PAIRS, 40)
    results = names.method(summary, "as_dict")
    for table, rows in results.items():
        old = names.key_before(table, STORED[0])
        facts.rows(f"{name}/{old}", rows, f"{STORED[0]}/{old}")
    described = of_study(names, study, "described")()
    counted = {key: described[names.word(key, STORED[0])] for key in ("persons", "slices", "t_fp", "seed", "classes")}
    facts.table(f"{name}/described", counted, STORED[0])


def _made_up(names: Names, facts: Facts, subjects: dict[str, Any], folder: Path) -> None:
    """A summary of cells that were filled by chance: every number of it, without any training."""
    room = "monai_shield.attacks"
    training = names.call(f"{ROOM}.Training", 1, batch_size=4, every=3)
    convolution = partial(nn.Conv2d, 1, 1, 3, padding=1)
    part, target = names.find(f"{ROOM}.AttackPart"), names.call(f"{ROOM}.TargetPart", partial(TinyTarget, 4), training)

    def attack(epsilon: float, **settings: Any) -> Any:
        return part(names.call(f"{room}.PGD", epsilon=epsilon), **names.settings(f"{ROOM}.AttackPart", settings))

    study = made_study(
        names,
        subjects,
        folder / "made_up",
        slices_per_volume=6,
        targets={"one": target, "two": target},
        attacks={"A": attack(0.1, pooled=True), "B": attack(0.2, every=2, pooled=True), "C": attack(0.3)},
        detectors={
            "spatial": names.call(f"{ROOM}.DetectorPart", convolution, training, seeds=2),
            "shifted": names.call(f"{ROOM}.DetectorPart", convolution, training, "shifted_frequency", seeds=2),
        },
        reformers={"convolution": "spatial", "blur": nn.AvgPool2d(3, stride=1, padding=1)},
        defenses={
            "1": ("spatial", "convolution"),
            "2": ("shifted", "convolution"),
            "3": ("spatial", "shifted", "convolution"),
            "4": ("zeros", "blur"),
        },
    )
    random = np.random.default_rng(0)
    data, cells, measured = (
        of_study(names, study, "data"),
        of_study(names, study, "cells"),
        of_study(names, study, "measured"),
    )
    for one in of_study(names, study, "targets"):
        for name in of_study(names, study, "attacks"):
            for volume, scan in names.of(data, "volumes").items():
                chosen = names.of(scan, "chosen")
                part = of_study(names, study, "attacks")[name]
                kept = chosen[part.chosen(chosen if names.is_before else len(chosen))]
                clean = names.of(scan, "slices")[kept]
                cell = {
                    key: torch.from_numpy(random.random(len(kept)))
                    for key in ("steps", "success", "norm_linf", "norm_l2")
                }
                step = 0.01 * torch.from_numpy(random.random(len(kept))).float()[:, None, None, None]
                cell |= {"image": clean + step, "exported": clean + 2 * step}
                key = of_study(names, study, "adversarial_key")(one, name, volume)
                names.method(cells, "put", *key, names.settings("cell", cell))
    for which in names.method(measured, "sets"):
        validating = names.of(which, "kind") == "val"
        number = len(names.of(data, "val")) if validating else len(of_study(names, study, "labels")(which))
        shift = 1.0 if names.of(which, "kind") in of_study(names, study, "attacks") else 0.0
        for key in names.method(measured, "score_keys", which).values():
            scores = torch.from_numpy(random.normal(shift, 1, number).round(1) + 10)
            names.method(cells, "put", *key, names.settings("cell", {"scores": scores}))
        for key in names.method(measured, "count_keys", which).values():
            label = of_study(names, study, "labels")(which).numpy()
            wrong = random.random(label.shape) < random.random((len(label), 1, 1, 1))
            guess = np.where(wrong, random.integers(0, 3, label.shape), label)
            guess[random.random(len(label)) < 0.1] = 0
            counts = names.call(
                "monai_shield.metrics.overlap_counts", torch.from_numpy(guess), torch.from_numpy(label), 3
            )
            names.method(cells, "put", *key, names.settings("cell", {"counts": counts}))
    summarized(names, facts, "study/made_up", study)
    spectra = names.call(f"{ROOM}.spectra.study_spectra", study)
    for key, array in spectra.items():
        facts.add(f"study/made_up/spectra/{names.key_before(key)}", np.asarray(array))
