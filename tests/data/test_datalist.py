# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The scans of a folder, by split."""

from monai_shield.data import companion_split, dataset_title, volume_datalist


def test_a_folder_without_splits_is_used_as_a_whole(brain_folder):
    assert [item["id"] for item in volume_datalist(brain_folder, "all")] == ["b0", "b1", "b2", "b3"]
    assert companion_split("all", "val") == "all"
    assert companion_split("train", "val") == companion_split("val", "val") == "val"


def test_a_data_set_is_called_by_its_folder(brain_folder, monkeypatch):
    title = f"{brain_folder.name} (val)"
    assert dataset_title(brain_folder, "val") == dataset_title(f"{brain_folder}/", "val") == title
    monkeypatch.chdir(brain_folder)
    assert dataset_title(".", "val") == title
