# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The slices of a study by split, and what their fingerprints depend on."""

import pytest

from monai_shield.evaluation import Slicing
from reproduction.image_set import ImageSet


def test_subjects_are_kept_apart(study_data, subjects) -> None:
    with pytest.raises(ValueError, match="subject 'a' is in 'train' and in 'val'"):
        study_data(val=[*subjects["val"], subjects["train"][0]])
    with pytest.raises(ValueError, match="split 'test' holds no scan"):
        study_data(test=[])
    with pytest.raises(ValueError, match="slices_per_volume must be at least 1"):
        study_data(slices_per_volume=0)
    with pytest.raises(ValueError, match="two test scans have one id"):
        study_data(test=[*subjects["test"], subjects["test"][0]])


def test_the_fingerprint_of_a_split_is_that_of_its_files_and_preprocessing(study_data, subjects) -> None:
    assert study_data().fingerprint("train") == study_data(slices_per_volume=5).fingerprint("train")
    swapped = {
        "image": subjects["train"][1]["image"],
        "label": subjects["train"][0]["label"],
        "id": "s0",
        "subject": "a",
    }
    different = [
        study_data(),
        study_data(slicing=Slicing(min_foreground=0.1)),
        study_data(slicing=Slicing(axis=0)),
        study_data(train=subjects["train"][:1]),
        study_data(train=[swapped, subjects["train"][1]]),
    ]
    assert len({data.fingerprint("train") for data in different}) == len(different)
    assert len({data.fingerprint("test") for data in different}) == 3


def test_a_scan_that_moves_from_test_to_val_changes_the_thresholds(study_data, subjects, tiny_study) -> None:
    before = tiny_study(data=study_data(val=subjects["val"], test=subjects["test"]))
    after = tiny_study(data=study_data(val=[*subjects["val"], subjects["test"][2]], test=subjects["test"][:2]))
    assert before.networks.detector_fingerprint("spatial", 0) == after.networks.detector_fingerprint("spatial", 0)
    assert before.images.fingerprint(ImageSet("val")) != after.images.fingerprint(ImageSet("val"))
