# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The scans of a folder, by split."""

import json
import os
from pathlib import Path
from typing import Any


def volume_datalist(dataset_dir: str | Path, split: str = "train", labels: bool = True) -> list[dict[str, str]]:
    """
    List the scans of a folder laid out as ``volumes/<id>_SS.nii.gz`` and ``volumes/<id>_glm.nii.gz``.

    Args:
        dataset_dir: folder of the set.
        split: "train", "val" or "test" of its ``splits.json`` (by subject), or "all": whatever files are there.
        labels: whether labels are needed.

    Returns:
        one dictionary a scan, with "image", "label" (where needed), "id", and "subject", which two scans of one subject
        share.

    Raises:
        FileNotFoundError: where the folder, its splits or a file of a split is missing.
        ValueError: for an unknown split, or a folder that holds no scan.
    """
    root = Path(dataset_dir)
    volumes = root / "volumes"
    if not volumes.is_dir():
        raise FileNotFoundError(f"no folder 'volumes' in dataset_dir '{root}'.")
    splits = _splits(root)
    if split == "all":
        ids = sorted(path.name.removesuffix("_SS.nii.gz") for path in volumes.glob("*_SS.nii.gz"))
    elif not splits:
        raise FileNotFoundError(f"'{root / 'splits.json'}' is missing: use --split all for a folder without splits.")
    elif split not in splits["official"]:
        raise ValueError(f"unknown split '{split}': choose one of {', '.join(splits['official'])}, all.")
    else:
        ids = splits["official"][split]
    if not ids:
        raise ValueError(f"no scan '*_SS.nii.gz' in '{volumes}'.")
    first_scan = {scan: scans[0] for scans in splits.get("repeat_scans_of_one_person", []) for scan in scans}
    items = []
    for scan in ids:
        item = {"image": str(volumes / f"{scan}_SS.nii.gz"), "id": scan, "subject": first_scan.get(scan, scan)}
        if labels:
            item["label"] = str(volumes / f"{scan}_glm.nii.gz")
        for key in {"image", "label"} & item.keys():
            if not Path(item[key]).is_file():
                raise FileNotFoundError(f"'{item[key]}' of split '{split}' is missing.")
        items.append(item)
    return items


def companion_split(split: str, usual: str) -> str:
    """The split that goes with another: `usual`, but "all" with "all", since that folder has no splits."""
    return "all" if split == "all" else usual


def dataset_title(dataset_dir: str | Path, split: str) -> str:
    """What was used, in words: the folder's name and the split, such as ``scans (val)``."""
    return f"{os.path.basename(os.path.abspath(dataset_dir))} ({split})"


def _splits(root: Path) -> dict[str, Any]:
    file = root / "splits.json"
    return json.loads(file.read_text()) if file.is_file() else {}
