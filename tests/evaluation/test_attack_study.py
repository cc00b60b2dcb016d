# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, LoadImaged, Orientationd
from torch import nn

from monai_shield.attacks import DAG, PGD, UniformNoise
from monai_shield.evaluation import AttackedNetwork, AttackStudy, attack_study_table, run_evaluation
from monai_shield.transforms import ScaleToWindowd

EPSILON = 0.2


class Bright(nn.Module):
    """Class 1 where a pixel is above one half of the window, and how often it was asked."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, image):
        self.calls += 1
        return torch.cat([0 * image, 20 * (image - 0.5)], dim=1)


@pytest.fixture
def subjects(tmp_path):
    items = []
    for number in range(3):
        generator = np.random.default_rng(number)
        image = np.zeros((12, 8, 12), dtype=np.int16)
        image[2:10, 1:7, 2:10] = generator.integers(300, 1000, (8, 6, 8))
        files = {key: tmp_path / f"{number}_{key}.nii" for key in ("image", "label")}
        nib.save(nib.Nifti1Image(image, np.diag([-1.0, 1, 1, 1])), files["image"])
        nib.save(nib.Nifti1Image((image > 500).astype(np.uint8), np.diag([-1.0, 1, 1, 1])), files["label"])
        items.append({key: str(file) for key, file in files.items()} | {"id": str(number), "subject": str(number % 2)})
    return items


ATTACKS = {
    "noise": UniformNoise(EPSILON, attack_background=False, confine_to_mask=True),
    "PGD": PGD(EPSILON, max_steps=10, attack_background=False, confine_to_mask=True),
    "DAG": DAG(step=0.05, max_steps=30, confine_to_mask=True),
}


def make(subjects, folder, network=None, attacks=ATTACKS, exported=("PGD",), **more):
    keys = ["image", "label"]
    preprocessing = Compose(
        [
            LoadImaged(keys, ensure_channel_first=True, image_only=True),
            Orientationd(keys, axcodes="LAS", labels=None),
            ScaleToWindowd("image"),
        ]
    )
    settings = {"slices_per_volume": 2, **more}
    attacked = AttackedNetwork(
        network or Bright(), attacks, subjects, preprocessing, structures=["bright"], output_dir=folder, **settings
    )
    return AttackStudy(attacked, exported)


def test_flipped_pixels_are_those_within_the_budget(subjects, tmp_path):
    # PGD flips a pixel of this network when it is brighter than one half by no more than the budget: count those
    study = make(subjects, tmp_path / "study")
    results = study.run()
    for number, item in enumerate(subjects):
        image = nib.load(item["image"]).get_fdata()
        foreground = np.sort(image[image > 0])
        scaled = image / foreground[round(0.995 * len(foreground)) - 1]
        # of six slices that bear foreground, the second and the fifth
        pixels = scaled[:, [2, 5], :].transpose(1, 0, 2)
        structure = pixels > 0.5
        left = ((pixels > 0.5 + EPSILON) & structure).sum((1, 2)) / structure.sum((1, 2))
        cells = results[str(number)]
        # but for the pixel that lies at the very edge of the budget, where a file rounds
        for name in ("PGD", "PGD, exported"):
            apart = (cells[name]["remaining"].numpy() - left) * structure.sum((1, 2))
            assert np.abs(apart).max() < 1.5
        assert cells["PGD"]["attacked"].tolist() == structure.sum((1, 2)).tolist()
        assert bool((cells["DAG"]["remaining"] <= 0.01).all())
        assert bool((cells["noise"]["remaining"] > cells["PGD"]["remaining"]).all())
        assert bool((cells["noise"]["norm_linf"] <= EPSILON + 1e-6).all())


def test_summary_and_table(subjects, tmp_path):
    study = make(subjects, tmp_path / "study")
    summary = run_evaluation(study, "data/made up")
    assert summary["provenance"]["dataset"] == "made up"
    assert (summary["volumes"], summary["subjects"], summary["slices"]) == (3, 2, 6)
    assert list(summary["attacks"]) == ["noise", "PGD", "PGD, exported", "DAG"]
    assert summary["attacks"]["DAG"]["success"] == {"value": 1, "low": 1, "high": 1}
    assert summary["attacks"]["DAG"]["dice"]["value"] < 0.05 < 0.9 < summary["clean"]["dice"]["value"]
    for row in summary["attacks"].values():
        assert row["flipped"]["low"] <= row["flipped"]["value"] <= row["flipped"]["high"]
    assert json.loads((tmp_path / "study" / "results.json").read_text()) == json.loads(json.dumps(summary))
    table = (tmp_path / "study" / "results.md").read_text()
    assert table.strip() == attack_study_table(summary)
    assert table.count("\n") == 2 + 1 + 4


def test_a_run_that_was_killed_goes_on(subjects, tmp_path):
    class Killed(Bright):
        def forward(self, image):
            if self.calls == 40:
                raise KeyboardInterrupt
            return super().forward(image)

    with pytest.raises(KeyboardInterrupt):
        make(subjects, tmp_path / "study", Killed()).run()
    kept = len(list((tmp_path / "study" / "cells").rglob("*.pt")))
    assert 0 < kept < 12
    rest, whole = Bright(), Bright()
    resumed = make(subjects, tmp_path / "study", rest).run()
    straight = make(subjects, tmp_path / "straight", whole).run()
    assert rest.calls < whole.calls
    for volume, cells in straight.items():
        assert set(resumed[volume]) == set(cells)
        for name, cell in cells.items():
            assert torch.equal(resumed[volume][name]["counts"], cell["counts"])
    idle = Bright()
    make(subjects, tmp_path / "study", idle).run()
    assert idle.calls == 0
    changed = {**ATTACKS, "PGD": PGD(0.1, max_steps=10, attack_background=False)}
    make(subjects, tmp_path / "study", idle, changed).run()
    assert 0 < idle.calls < 50  # PGD alone


def test_another_file_of_the_same_name_is_attacked_anew(subjects, tmp_path):
    make(subjects, tmp_path, Bright()).run()
    file = nib.load(subjects[0]["image"])
    nib.save(nib.Nifti1Image(file.get_fdata()[::-1].copy(), file.affine), subjects[0]["image"])
    network = Bright()
    make(subjects, tmp_path, network).run()
    assert network.calls > 0
    network.calls = 0
    make(subjects, tmp_path, network).run()
    assert network.calls == 0


def test_a_network_that_finds_nothing_is_not_attacked(subjects, tmp_path):
    class Blind(Bright):
        def forward(self, image):
            return super().forward(image).abs() * torch.tensor([0.0, -1.0])[:, None, None]

    blind = Blind()
    with pytest.raises(ValueError, match="finds no structure in any slice"):
        make(subjects, tmp_path, blind).run()
    assert blind.calls == 3  # no attack has begun


def test_bad_settings_are_refused(subjects, tmp_path):
    with pytest.raises(ValueError, match="slices_per_volume"):
        make(subjects, tmp_path, slices_per_volume=0)
    with pytest.raises(ValueError, match="an evaluation needs a labeled scan"):
        make([], tmp_path).run()
    with pytest.raises(ValueError, match="unknown attacks: FGSM"):
        make(subjects, tmp_path, exported=["FGSM"])
