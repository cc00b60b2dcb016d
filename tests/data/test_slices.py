# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Slices, datalists and label maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_shield.data import MICCAI2012_STRUCTURES, SliceDataset, slices_of, volume_datalist


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_the_slices(axis: int) -> None:
    volume = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    for index, one in enumerate(slices_of(volume, axis)):
        assert torch.equal(one, volume.select(axis + 1, index))


def test_dataset_keeps_slices_that_bear_foreground_and_only_those() -> None:
    image = torch.zeros(1, 10, 6, 10)
    image[:, :, 2:5] = 1.0
    image[:, 0, 5] = 1.0  # 10 of 100 pixels
    data = SliceDataset(
        [{"id": "x"}], lambda _: {"image": image, "label": image.to(torch.uint8)}, min_foreground=0.15, progress=False
    )
    assert [item["slice"] for item in data] == [2, 3, 4]
    assert data[0]["id"] == "x"
    assert data[0]["image"].shape == (1, 10, 10)
    assert data[0]["label"].dtype == torch.uint8
    every = SliceDataset([{}], lambda _: {"image": image}, ["image"], every=2, progress=False)
    assert [item["slice"] for item in every] == [2, 4]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "volumes").mkdir()
    for scan in ("1", "2", "3"):
        for kind in ("SS", "glm"):
            (tmp_path / "volumes" / f"{scan}_{kind}.nii.gz").touch()
    splits = {"official": {"train": ["1"], "test": ["2", "3"]}, "repeat_scans_of_one_person": [["2", "3"]]}
    (tmp_path / "splits.json").write_text(json.dumps(splits))
    return tmp_path


def test_datalist_by_split_and_person(folder: Path) -> None:
    assert [item["id"] for item in volume_datalist(folder, "train")] == ["1"]
    assert [item["subject"] for item in volume_datalist(folder, "test")] == ["2", "2"]
    assert [item["id"] for item in volume_datalist(folder, "all")] == ["1", "2", "3"]
    assert "label" not in volume_datalist(folder, "train", labels=False)[0]


def test_datalist_says_what_is_missing(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ValueError, match=r"unknown split 'val': choose one of train, test, all"):
        volume_datalist(folder, "val")
    (folder / "volumes" / "1_glm.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"1_glm\.nii\.gz"):
        volume_datalist(folder, "train")
    (folder / "splits.json").unlink()
    with pytest.raises(FileNotFoundError, match="--split all"):
        volume_datalist(folder, "train")
    with pytest.raises(FileNotFoundError, match="no folder 'volumes'"):
        volume_datalist(tmp_path_factory.mktemp("empty"))


def test_27_structures_of_disjoint_labels() -> None:
    values = [value for group in MICCAI2012_STRUCTURES.values() for value in group]
    assert len(MICCAI2012_STRUCTURES) == 27
    assert len(values) == len(set(values))
    for name, group in MICCAI2012_STRUCTURES.items():
        if name.startswith("left "):
            assert len(group) == len(MICCAI2012_STRUCTURES[name.replace("left", "right")])


def test_real_splits_are_by_subject_and_labels_are_there(shield_data: Path) -> None:
    root = shield_data / "miccai2012_multiatlas"
    subjects = {split: {item["subject"] for item in volume_datalist(root, split)} for split in ("train", "val", "test")}
    assert not subjects["train"] & (subjects["val"] | subjects["test"])
    assert not subjects["val"] & subjects["test"]
    assert len(subjects["test"]) == 9
    import nibabel as nib

    label = np.asarray(nib.load(volume_datalist(root, "val")[0]["label"]).dataobj)
    present = set(np.unique(label))
    assert all(present & set(group) for group in MICCAI2012_STRUCTURES.values())


def test_real_left_is_left(shield_data: Path) -> None:
    """In LAS the first axis runs from right to left: left structures have the larger index."""
    import nibabel as nib

    image = nib.load(volume_datalist(shield_data / "miccai2012_multiatlas", "val")[0]["label"])
    label = np.asarray(image.dataobj)
    assert nib.aff2axcodes(image.affine)[0] == "L"
    for name in ("thalamus", "hippocampus", "putamen"):
        left, right = (np.isin(label, MICCAI2012_STRUCTURES[f"{side} {name}"]) for side in ("left", "right"))
        assert np.argwhere(left)[:, 0].mean() > np.argwhere(right)[:, 0].mean()
