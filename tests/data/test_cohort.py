# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImaged

from monai_shield.data import COHORT_TISSUES, cohort_subject, embedded_cohort, volume_datalist
from monai_shield.data import cohort as module

pytest.importorskip("nilearn", reason="the embedded cohort needs nilearn: pip install 'monai-shield[demo]'")

ONE = {"train": 1, "val": 0, "test": 0, "progress": False}
SMALL = dict.fromkeys(("image", "label"), MetaTensor(torch.ones(1, 2, 2, 2)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cohort of one subject, made once."""
    return embedded_cohort(tmp_path_factory.mktemp("cohort"), **ONE)


@pytest.fixture(scope="module")
def subject(folder):
    """Image and label of that subject, as they were read back."""
    return LoadImaged(["image", "label"], ensure_channel_first=True)(volume_datalist(folder, "train")[0])


def contents(folder):
    return {file.name: file.read_bytes() for file in Path(folder, "volumes").iterdir()}


def test_a_subject_depends_on_number_and_seed_alone(subject):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    again = cohort_subject(0)
    other = cohort_subject(1)
    for key in ("image", "label"):
        assert torch.equal(again[key].as_tensor().float(), subject[key].as_tensor().float())
        np.testing.assert_allclose(again[key].affine, subject[key].affine)
        assert not torch.equal(again[key].as_tensor(), other[key].as_tensor())
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002


def test_background_is_zero_and_the_brain_lies_within(subject):
    image, label = subject["image"][0].as_tensor(), subject["label"][0].as_tensor()
    assert torch.equal(image > 0, label > 0)
    assert 0.2 < float((label > 0).float().mean()) < 0.4
    for axis in range(3):
        assert not label.select(axis, 0).any()
        assert not label.select(axis, -1).any()


def test_tissues_have_a_brain_s_shares_and_order(subject):
    image, label = subject["image"][0].as_tensor(), subject["label"][0].as_tensor()
    values = [value for values in COHORT_TISSUES.values() for value in values]
    assert set(label.unique().tolist()) == {0, *values}
    volume = float((label > 0).sum()) / 1000
    assert 1100 < volume < 1900  # milliliters
    shares = [float((label == value).sum()) / 1000 / volume for value in values]
    for share, (low, high) in zip(shares, ((0.03, 0.2), (0.45, 0.65), (0.25, 0.45))):
        assert low < share < high
    medians = [float(image[label == value].median()) for value in values]
    assert medians == sorted(medians)
    assert medians[0] < 0.6 * medians[2]


def test_noise_is_that_of_real_scans(subject):
    """Robust deviation of the Laplacian in white matter's inside, 0.0078 to 0.0111 of the window in 15 real scans."""
    image, label = subject["image"].as_tensor().float(), subject["label"].as_tensor()
    window = np.percentile(image[image > 0].numpy(), 99.5)
    assert 1350 < window < 1650
    kernel = torch.zeros(1, 1, 3, 3, 3)
    kernel[0, 0, 1, 1, 1] = -6
    for axis in range(3):
        for side in (0, 2):
            kernel[0, 0][tuple(side if axis == other else 1 for other in range(3))] = 1
    curvature = torch.nn.functional.conv3d(image[None] / float(window), kernel, padding=1)[0, 0]
    outside = torch.nn.functional.max_pool3d((label != 3).float(), 5, stride=1, padding=2)[0] > 0
    found = curvature[~outside]
    level = 1.4826 * (found - found.median()).abs().median() / 42**0.5
    assert 0.0075 < float(level) < 0.0115


def test_files_hold_integers_and_one_affine(folder):
    for item in volume_datalist(folder, "train"):
        for key, dtype in (("image", np.int16), ("label", np.uint8)):
            file = nib.load(item[key])
            assert file.get_data_dtype() == dtype
            assert file.header["qform_code"] > 0
            assert file.header["sform_code"] > 0
            np.testing.assert_array_equal(file.get_qform(), file.get_sform())
            assert file.header.get_zooms() == (1.0, 1.0, 1.0)
            assert "".join(nib.aff2axcodes(file.affine)) == "LAS"


def test_only_what_is_missing_is_made_again_and_it_is_the_same(folder):
    volumes = Path(folder, "volumes")
    whole = contents(folder)
    assert set(whole) == {"p000_SS.nii.gz", "p000_glm.nii.gz"}
    kept = (volumes / "p000_SS.nii.gz").stat().st_mtime_ns
    (volumes / "p000_glm.nii.gz").unlink()
    assert embedded_cohort(folder, **ONE) == folder
    assert contents(folder) == whole
    assert (volumes / "p000_SS.nii.gz").stat().st_mtime_ns == kept


def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path, monkeypatch):
    def broken(image, path):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "cohort_subject", lambda number, seed: SMALL)
    monkeypatch.setattr(nib, "save", broken)
    with pytest.raises(KeyboardInterrupt):
        embedded_cohort(tmp_path, **ONE)
    assert not list((tmp_path / "volumes").iterdir())


def test_splits_grow_without_anybody_changing_sides(tmp_path, monkeypatch):
    made = []

    def small(number, seed):
        made.append(number)
        return SMALL

    monkeypatch.setattr(module, "cohort_subject", small)
    folder = embedded_cohort(tmp_path, train=2, val=1, test=1, progress=False)
    few = json.loads((tmp_path / "splits.json").read_text())["official"]
    assert [len(few[split]) for split in ("train", "val", "test")] == [2, 1, 1]
    assert len({i for ids in few.values() for i in ids}) == len(made) == 4
    embedded_cohort(tmp_path, train=2, val=1, test=1, progress=False)
    assert len(made) == 4
    embedded_cohort(tmp_path, train=3, val=2, test=1, progress=False)
    many = json.loads((tmp_path / "splits.json").read_text())["official"]
    assert len(made) == 6
    assert all(set(few[split]) <= set(many[split]) for split in few)
    assert [item["id"] for item in volume_datalist(folder, "train")] == many["train"]


def test_another_seed_does_not_mix_with_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "cohort_subject", lambda number, seed: SMALL)
    embedded_cohort(tmp_path, **ONE)
    with pytest.raises(ValueError, match="other settings"):
        embedded_cohort(tmp_path, **ONE, seed=1)


@pytest.mark.parametrize("numbers", [{"train": -1}, {"train": 501}, {"val": 201}, {"test": 301}])
def test_impossible_numbers_are_refused(tmp_path, numbers):
    with pytest.raises(ValueError, match="must be from 0 to"):
        embedded_cohort(tmp_path, **(ONE | numbers))


def test_without_nilearn_one_line_names_the_extra(tmp_path, monkeypatch):
    module._template.cache_clear()
    monkeypatch.setitem(sys.modules, "nilearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'monai-shield\[demo\]'") as error:
        embedded_cohort(tmp_path, **ONE)
    assert "\n" not in str(error.value)
