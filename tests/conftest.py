# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What tests share: the real data where it is, a tiny bundle, brains that do not exist."""

import copy
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from monai.utils import set_determinism

from support.page import Reader
from support.tiny_bundle import (
    LAS,
    brain_values,
    calibration_brains,
    make_brain_folder,
    make_tiny_bundle,
    write_nifti,
)

settings.register_profile("shield", deadline=None)  # a busy machine is no failure
settings.load_profile("shield")

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def deterministic():
    """Every test starts from one seed and leaves the generators and MONAI's and torch's settings as they were."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    settings = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    yield
    set_determinism(None)
    random.setstate(before[0])
    np.random.set_state(before[1])  # noqa: NPY002
    torch.set_rng_state(before[2])
    torch.use_deterministic_algorithms(settings[0])
    torch.backends.cudnn.deterministic = settings[1]


@pytest.fixture(scope="session")
def shield_data() -> Path:
    """The folder of real data sets: $SHIELD_DATA, else ../shared/data beside the repository."""
    folder = Path(os.environ.get("SHIELD_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in '{folder}': set SHIELD_DATA.")
    return folder


@pytest.fixture(scope="session")
def brain() -> Callable[..., np.ndarray]:
    """Makes a brain, ``brain(seed=0, shape=(64, 72, 60))``, see above; voxels of 1 mm, LAS."""
    return brain_values


@pytest.fixture(scope="session", name="write_nifti")
def write_nifti_function() -> Callable[..., Path]:
    """Writes a file, ``write_nifti(path, values, affine=LAS, dtype=int16)``; returns its path."""
    return write_nifti


@pytest.fixture
def brain_file(tmp_path) -> Callable[..., Path]:
    """Writes a brain, ``brain_file(name, seed=0, shape=(64, 72, 60), affine=LAS, dtype=int16)``; returns its path."""

    def make(name: str = "brain.nii.gz", seed: int = 0, shape=(64, 72, 60), affine=LAS, dtype=np.int16) -> Path:
        return write_nifti(tmp_path / name, brain_values(seed, shape), affine, dtype)

    return make


@pytest.fixture(scope="session")
def brain_folder(tmp_path_factory) -> Path:
    """A data set of four small brains, laid out for ``volume_datalist``: two to train on, one val, one test."""
    return make_brain_folder(tmp_path_factory.mktemp("brains"))


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory) -> Path:
    """
    The brain bundle in ``<tmp>/bundles/brain_mri_shield``, its networks tiny and random, its shield calibrated on the
    brains of seed 0 and 1, which are accepted, and a noisier one.
    """
    root = tmp_path_factory.mktemp("repository") / "bundles" / "brain_mri_shield"
    return make_tiny_bundle(root, calibration_brains(tmp_path_factory.mktemp("calibration")))


@pytest.fixture
def tiny_repository(tiny_bundle, tmp_path, monkeypatch) -> Path:
    """A copy of the tiny bundle in a repository of its own, free to be broken, which is the working directory."""
    root = tmp_path / "repository"
    shutil.copytree(tiny_bundle, root / "bundles" / tiny_bundle.name)
    monkeypatch.chdir(root)
    return root


@pytest.fixture(scope="session")
def read_page():
    """Read a page, (str) -> Reader; fails where an element is not closed where it was opened."""
    return Reader.read


def _interval(random, low=0.0, high=1.0, empty=False):
    if empty:
        return dict.fromkeys(("value", "low", "high"))
    found = sorted(round(float(value), 4) for value in random.uniform(low, high, 3))
    return dict(zip(("low", "value", "high"), found))


@pytest.fixture
def made_up_study(stored_study):
    """A copy of that study of defenses which a test may change."""
    return copy.deepcopy(stored_study)


@pytest.fixture(scope="session")
def stored_study():
    """
    Results and spectra of a study of defenses that was never run, as they are stored: three targets, two attacks, a
    detector of each group; of the first defense nothing was accepted.
    """
    random = np.random.default_rng(0)
    targets, attacks, variants = ["UNet", "SegNet", "DenseNet"], ["DAG A", "PGD <4/255>"], ["raw", "exported"]
    groups = {"UNet shifted": "paper", "other & own": "representation", "rolled": "layout"}
    groups |= {"UNet, a third of the steps": "length", "MagNet AE I": "magnet", "share of zeros": "baseline"}
    columns = [
        {"target": target, "attack": attack, "variant": variant}
        for target in [*targets, "mean"]
        for attack in [*attacks, "pooled"]
        for variant in variants
    ]
    measures = ("undefended", "reformed", "accepted", "rejected_as_zero", "rejected_deferred", "harm")
    measures += ("accepted_attacked", "accepted_clean", "clean", "clean_reformed")
    defenses = {"13": ("UNet shifted", "UNet"), "MagNet": ("MagNet AE I, then MagNet AE II", "MagNet")}
    results = {
        "detectors": [
            {
                "detector": name,
                "group": group,
                "parameters": 1234,
                "seeds": 2,
                "steps": 15,
                "p": 1.0 if group == "magnet" else 2.0,
                "val_error": [0.012345, 2.0],
            }
            for name, group in groups.items()
        ],
        "targets": [
            {
                "target": target,
                "robust": target == "UNet, distilled",
                "parameters": 8200,
                "steps": 30,
                "dice": _interval(random),
                "structures": {"left part": _interval(random), "right part": _interval(random)},
            }
            for target in [*targets, "UNet, distilled"]
        ],
        "undefended": [
            {"target": target, "robust": target == "UNet, distilled", "attack": attack, "variant": variant}
            | {"slices": 3, "clean": _interval(random), "attacked": _interval(random)}
            | {"steps": 20.0, "success": 0.5, "norm_linf": 2 / 255, "norm_l2": 1.25}
            for target in [*targets, "UNet, distilled"]
            for attack in attacks
            for variant in variants
        ],
        "detection": [
            {"detector": name, "group": group, **column, "auc": _interval(random, 50, 100), "seeds": [60.0, 71.25]}
            | {name: _interval(random, 50, 100) for name in ("paired_win_rate", "adjusted")}
            for name, group in groups.items()
            for column in columns
        ],
        "comparisons": [
            {"first": "UNet shifted", "second": "share of zeros", **column, "difference": _interval(random, -9, 9)}
            for column in columns
        ],
        "defenses": [
            {"defense": number, "detector": detector, "reformer": reformer, "adjusted": adjusted, **column}
            | {"auc": _interval(random, 50, 100)}
            | {name: _interval(random, empty=number == "13" and name == "accepted") for name in measures}
            for number, (detector, reformer) in defenses.items()
            for adjusted in (False, True)
            for column in columns
            if column["target"] != "mean" or column["attack"] == "pooled"
        ],
        "baseline_defenses": [
            {"defense": "Defense-GAN", "adjusted": False, **column, "auc": _interval(random, 50, 100)}
            | {name: _interval(random) for name in measures}
            for column in columns
            if column["target"] != "mean" or column["attack"] == "pooled"
        ],
        "roc": [
            {"detector": name, "group": group, "variant": variant}
            | {"true_positive_rate": np.linspace(0, 1, 101).tolist()}
            for name, group in groups.items()
            for variant in variants
        ],
        "settings": {
            "subjects": {"train": 4, "val": 2, "test": 3},
            "slices": {"train": 40, "val": 20, "test": 9},
            "t_fp": 0.05,
            "attacks": {name: {"attack": f"{name}(...)", "every": 1, "pooled": True} for name in attacks},
            "targets": dict.fromkeys(targets, "Training(epochs=1)"),
            "detectors": dict.fromkeys(["UNet shifted", "MagNet AE I"], "Training(epochs=2)"),
        },
        "provenance": {"date": "2026-11-23", "revision": None},
    }
    shape, names = (24, 16), [f"{attack}, {variant}" for attack in attacks for variant in variants]
    spectra = {"unshifted clean": random.normal(size=shape).astype(np.float16)}
    for name in ("clean", *names):
        spectra[f"radial {name}"] = np.r_[0.0, np.nan, random.normal(size=6)]
        spectra[f"spectrum {name}"] = random.normal(size=shape).astype(np.float16)
    for name in names:
        spectra[f"perturbation {name}"] = np.zeros(shape, np.float16)
    return results, spectra
