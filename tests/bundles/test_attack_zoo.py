# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Bundles of MONAI's model zoo, as they are: attacked, or refused in one line that says why."""

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_shield.__main__ import attack
from monai_shield.bundle import BundleError, BundleTarget
from monai_shield.bundle.config import BundleConfig, importable

ZOO = Path(os.environ.get("SHIELD_ZOO", Path(__file__).parents[3] / "shared" / "zoo"))
pytestmark = pytest.mark.skipif(not ZOO.is_dir(), reason=f"no bundles of the zoo in '{ZOO}': set SHIELD_ZOO.")
BUNDLES = sorted(path.parent.name for path in ZOO.glob("*/configs"))
NO_WEIGHTS = [name for name in BUNDLES if name != "segmentation_template"]


@pytest.fixture
def scan(tmp_path):
    """Two balls in noise, as the template's docs describe its images."""
    grid = np.indices((32, 32, 32))
    values = np.random.default_rng(0).integers(0, 20, (32, 32, 32))
    for center, level in ((10, 90), (22, 200)):
        values[((grid - center) ** 2).sum(0) < 40] += level
    nib.save(nib.Nifti1Image(values.astype(np.int16), np.diag([1.5, 1.5, 2.0, 1.0])), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def untrained(name, folder):
    """A file of random weights for a bundle that comes without."""
    with importable(ZOO / name):
        network = BundleConfig.read(ZOO / name, torch.device("cpu")).build("network_def")
    torch.save(network.state_dict(), folder / "weights.pt")
    return str(folder / "weights.pt")


@pytest.mark.parametrize("name", NO_WEIGHTS)
def test_what_is_missing_is_named(name):
    with pytest.raises(BundleError) as caught:
        BundleTarget.open(ZOO / name, "cpu", trust=True)
    said = str(caught.value)
    assert "\n" not in said
    assert any(word in said for word in ("weight file '", "`itk` is not installed", "No module named")), said


def test_the_template_in_yaml_is_attacked_as_it_is(scan, tmp_path):
    out = tmp_path / "out"
    words = attack(
        str(ZOO / "segmentation_template"),
        "pgd",
        str(scan),
        str(out),
        device="cpu",
        trust=True,
        epsilon=0.1,
        max_steps=3,
    )
    (record,) = json.loads((out / "results.json").read_text())
    assert record["flipped_read_back"] > 0.01
    assert record["dice_attacked"] < 1
    assert "against the network's own clean answer" in words


def test_slices_of_a_volume_are_attacked(scan, tmp_path):
    name, out = "ventricular_short_axis_3label", tmp_path / "out"
    weights = untrained(name, tmp_path)
    settings = {"device": "cpu", "trust": True, "weights": weights, "epsilon": 0.1, "max_steps": 1, "slices": 1}
    attack(str(ZOO / name), "pgd", str(scan), str(out), **settings)
    (record,) = json.loads((out / "results.json").read_text())
    assert record["slices"] == [16]


def test_an_image_in_several_files_is_not_supported(scan, tmp_path):
    name = "brats_mri_segmentation"
    settings = {"device": "cpu", "trust": True, "weights": untrained(name, tmp_path), "epsilon": 0.1, "max_steps": 1}
    with pytest.raises(BundleError, match="a file must hold one image with all channels of the network"):
        attack(str(ZOO / name), "pgd", str(scan), str(tmp_path / "out"), **settings)
