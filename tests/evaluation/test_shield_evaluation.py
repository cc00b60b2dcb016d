# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""An evaluation from files to tables, on tiny subjects and tiny networks."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, CropForegroundd, LoadImaged, Orientationd, SpatialPadd
from torch import nn

from monai_shield.attacks import PGD
from monai_shield.detectors import Calibration, HighFrequencyEnergy, ZeroShare
from monai_shield.evaluation import AttackedNetwork, EvaluationSummary, ShieldEvaluation, run_evaluation
from monai_shield.inferers import ShieldInferer
from monai_shield.transforms import ScaleToWindowd


class Bright(nn.Module):
    """Class 1 where a pixel is above one half of the window."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.slope = nn.Parameter(torch.tensor(20.0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return torch.cat([0 * image, self.slope * (image - 0.5)], dim=1)


@pytest.fixture
def subjects(tmp_path: Path) -> list[dict[str, str]]:
    items = []
    for number in range(3):
        generator = np.random.default_rng(number)
        image = np.zeros((14, 10, 14), dtype=np.int16)
        image[2:12, 1:9, 2:12] = generator.integers(300, 1000, (10, 8, 10))
        window = np.sort(image[image > 0])[round(0.995 * (image > 0).sum()) - 1]
        files = {"image": tmp_path / f"{number}_SS.nii", "label": tmp_path / f"{number}_glm.nii"}
        nib.save(nib.Nifti1Image(image, np.diag([-1.0, 1, 1, 1])), files["image"])
        nib.save(nib.Nifti1Image((image > 0.5 * window).astype(np.uint8), np.diag([-1.0, 1, 1, 1])), files["label"])
        items.append({key: str(file) for key, file in files.items()} | {"id": str(number), "subject": str(number % 2)})
    return items


def evaluation(subjects: list[dict[str, str]], folder: Path, **changes: Any) -> ShieldEvaluation:
    keys = ["image", "label"]
    preprocessing = Compose(
        [
            LoadImaged(keys, ensure_channel_first=True),
            Orientationd(keys, axcodes="LAS", labels=None),
            ScaleToWindowd("image"),
            CropForegroundd(keys, source_key="image", allow_smaller=True),
            SpatialPadd(keys, spatial_size=[12, -1, 12]),
        ]
    )
    detector = HighFrequencyEnergy()
    detector.calibration = Calibration.fit(torch.linspace(0.0, 0.6, 60), volumes=["a", "b"] * 30)
    variants = changes.pop("variants", {})
    settings: dict[str, Any] = {
        "network": Bright(),
        "attacks": {"PGD": PGD(epsilon=0.2, max_steps=4)},
        "datalist": subjects,
        "preprocessing": preprocessing,
        "structures": ["bright"],
        "slices_per_volume": 4,
        "output_dir": folder,
    }
    return ShieldEvaluation(
        AttackedNetwork(**(settings | changes)),
        ShieldInferer(detector, nn.AvgPool2d(3, 1, 1), slice_axis=1),
        variants,
        baselines={"zeros": ZeroShare()},
        filters={"nothing": nn.Identity()},
    )


def test_from_files_to_tables(subjects: list[dict[str, str]], tmp_path: Path) -> None:
    study = evaluation(subjects, tmp_path / "out")
    results = study.run()
    assert list(results) == ["0", "1", "2"]
    assert set(results["0"]) == {"clean", "PGD, raw", "PGD, exported"}
    summary = EvaluationSummary(results, study.shield.detector.calibrated(), ["bright"], resamples=50).as_dict()
    assert summary["subjects"] == 2
    # the label is what the bare network finds
    assert summary["clean"]["dice"]["bare"]["value"] == pytest.approx(1.0)
    attack = summary["attacks"]["PGD, exported"]
    assert attack["dice"]["clean"]["value"] == pytest.approx(1.0)
    assert attack["dice"]["attacked"]["value"] < 0.9
    assert attack["dice"]["nothing"] == attack["dice"]["attacked"]  # the identity is no reformer
    # deferring never does worse than counting an emptied label
    assert attack["dice"]["rejected_deferred"]["value"] >= attack["dice"]["rejected_as_zero"]["value"]
    assert 0 <= attack["residual_harm"]["value"] <= 1
    # raw PGD disturbs the zeros of the padding; the exported one has them restored
    assert summary["attacks"]["PGD, raw"]["auc"]["zeros"]["value"] > 90
    assert attack["auc"]["zeros"]["value"] == pytest.approx(50)
    run_evaluation(study, "data")
    assert "PGD, exported" in (tmp_path / "out" / "results.md").read_text()
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert stored["attacks"]["PGD, raw"]["residual_harm"] == summary["attacks"]["PGD, raw"]["residual_harm"]


def assert_same(one: Any, other: Any) -> None:
    """Equal through nested dictionaries of tensors and words."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, torch.Tensor):
        torch.testing.assert_close(one, other)
    else:
        assert one == other


def test_a_second_run_computes_nothing_and_a_changed_setting_only_its_own(
    subjects: list[dict[str, str]], tmp_path: Path
) -> None:
    first = evaluation(subjects, tmp_path / "out").run()
    again = evaluation(subjects, tmp_path / "out")
    assert_same(again.run(), first)
    assert again.network.calls == 0  # type: ignore[attr-defined]
    (cell,) = (tmp_path / "out" / "cells" / "1").glob("PGD.*.pt")
    cell.unlink()
    resumed = evaluation(subjects, tmp_path / "out")
    assert_same(resumed.run(), first)
    assert resumed.network.calls > 0  # type: ignore[attr-defined]
    (clean,) = (tmp_path / "out" / "cells" / "0").glob("clean.*.pt")
    before = clean.stat().st_mtime_ns
    stronger = evaluation(subjects, tmp_path / "out", attacks={"PGD": PGD(epsilon=0.4, max_steps=4)}).run()
    assert clean.stat().st_mtime_ns == before
    assert not torch.equal(stronger["0"]["PGD, raw"]["norm_l2"], first["0"]["PGD, raw"]["norm_l2"])


def test_another_file_of_the_same_name_is_computed_anew(subjects: list[dict[str, str]], tmp_path: Path) -> None:
    first = evaluation(subjects, tmp_path / "out").run()
    file = nib.load(subjects[0]["image"])
    nib.save(nib.Nifti1Image(file.get_fdata()[::-1].copy(), file.affine), subjects[0]["image"])
    again = evaluation(subjects, tmp_path / "out").run()
    assert not torch.equal(again["0"]["clean"]["counts"]["bare"], first["0"]["clean"]["counts"]["bare"])
    assert_same({"1": again["1"]}, {"1": first["1"]})


def test_bad_settings_are_refused(subjects: list[dict[str, str]], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown attacks: FGSM"):
        evaluation(subjects, tmp_path, variants={"FGSM": ["raw"]})
    with pytest.raises(ValueError, match="slices_per_volume"):
        evaluation(subjects, tmp_path, slices_per_volume=0)


def test_labels_of_another_map_are_refused(subjects: list[dict[str, str]], tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((14, 10, 14), np.uint8), np.diag([-1.0, 1, 1, 1])), subjects[0]["label"])
    with pytest.raises(ValueError, match="no structure of the label map"):
        evaluation(subjects, tmp_path / "out").run()
