# Copyright (c) The monai-shield authors.
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The scans of a folder, by split."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["volume_datalist"]


def volume_datalist(dataset_dir: str, split: str = "train") -> list[dict[str, str]]:
    """
    List the scans of a folder laid out as ``volumes/<id>_SS.nii.gz`` and ``volumes/<id>_glm.nii.gz``.

    Args:
        dataset_dir: folder of the set.
        split: "train", "val" or "test" of its ``splits.json`` (by person), or "all": whatever files are there.

    Returns:
        one dictionary a scan, with "image", "label" and "id".

    Raises:
        FileNotFoundError: where the folder, its splits or a file of a split is missing.
        ValueError: for an unknown split, or a folder that holds no scan.
    """
    root = Path(dataset_dir)
    volumes = root / "volumes"
    if not volumes.is_dir():
        raise FileNotFoundError(f"no folder 'volumes' in dataset_dir '{root}'.")
    if split == "all":
        ids = sorted(path.name.removesuffix("_SS.nii.gz") for path in volumes.glob("*_SS.nii.gz"))
    else:
        splits_file = root / "splits.json"
        if not splits_file.is_file():
            raise FileNotFoundError(f"'{splits_file}' is missing: use --split all for a folder without splits.")
        splits = json.loads(splits_file.read_text())["official"]
        if split not in splits:
            raise ValueError(f"unknown split '{split}': choose one of {', '.join(splits)}, all.")
        ids = splits[split]
    items = [
        {"image": str(volumes / f"{i}_SS.nii.gz"), "label": str(volumes / f"{i}_glm.nii.gz"), "id": i} for i in ids
    ]
    if not items:
        raise ValueError(f"no scan '*_SS.nii.gz' in '{volumes}'.")
    for item in items:
        for key in ("image", "label"):
            if not Path(item[key]).is_file():
                raise FileNotFoundError(f"'{item[key]}' of split '{split}' is missing.")
    return items
