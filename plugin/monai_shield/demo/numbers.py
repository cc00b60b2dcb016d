# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""From what the demo did and the files it wrote to its numbers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from monai_shield.attacks import DAG
from monai_shield.bundle import BundleTarget
from monai_shield.bundle.attack_measures import success_record
from monai_shield.bundle.attacked_file import AttackedFile
from monai_shield.bundle.grid import load_grid, on_grid
from monai_shield.detectors import Calibration
from monai_shield.fingerprints import stable_repr
from monai_shield.metrics import dice_of_counts, overlap_counts
from monai_shield.transforms import PreprocessedFile, read_values
from monai_shield.utils import read_weights

Record = dict[str, Any]


def measured(
    folder: Path,
    files: Mapping[str, str],
    target: BundleTarget,
    attack: DAG,
    clean: PreprocessedFile,
    attacked: AttackedFile,
) -> Record:
    """
    The numbers of a demo, in plain JSON types.

    Args:
        folder: of the demo.
        files: name of a file to where it lies in the folder.
        target: the network.
        attack: the attack.
        clean: the clean scan.
        attacked: what the attack made of it.
    """
    slab = torch.cat([batch.cases for batch in attacked.batches])
    positions = slice_positions(target, clean.image)
    ends = sorted(positions[int(index)] for index in (slab[0], slab[-1]))
    half = abs(positions[1] - positions[0]) / 2
    slab_mm = (ends[0] - half, ends[1] + half)
    scans = {}
    for name, image in (("clean", clean.image), ("attacked", attacked.image)):
        decision = json.loads((folder / "defended" / f"{name}_shield.json").read_text())
        scans[name] = {"file": files[name], **scan_record(decision, slice_positions(target, image), slab_mm)}
    names = {"attacked": "attacked, undefended", "attacked_reformed": "attacked, reformed"}
    names |= {"clean_reformed": "clean, reformed"}
    answers = {name: read_values(folder / files[file]) for name, file in names.items()}
    reference, inside = read_values(folder / files["clean, undefended"]), in_file(target, clean, slab)
    return {
        "attack": attack_record(target, attack, clean, attacked, folder / files["attacked"]),
        "calibration": calibration_record(folder / "calibration" / "shield" / "detector.pt"),
        "scans": scans,
        "dice": dice_records(reference, answers, inside, list(target.structures.values())),
        "slab_mm": list(slab_mm),
        "shown_slice": _shown(target, clean, int(slab[0] + slab[-1] + 1) // 2, scans["attacked"]["slices"]),
        "intensity_window": list(clean.image.meta["intensity_window"]),
        "spatial_size": list(target.cases(clean.image.as_tensor()).shape[2:]),
    }


def _shown(target: BundleTarget, clean: PreprocessedFile, index: int, slices: Sequence[Record]) -> Record:
    """Which slice the pictures show: its index as the network sees the scan, and where it lies in the file."""
    position = slice_positions(target, clean.image)[index]
    places = np.argwhere(in_file(target, clean, torch.tensor([index])))
    file_axis = int(np.argmin(np.ptp(places, axis=0)))
    return {
        "slice": index,
        "position_mm": position,
        "file_axis": file_axis,
        "file_index": int(places[0, file_axis]),
        "rejected": next((each["rejected"] for each in slices if each["position_mm"] == position), None),
    }


def slice_positions(target: BundleTarget, image: MetaTensor) -> list[float]:
    """Where in the world each slice of a preprocessed scan lies along the axis it was cut along, in mm."""
    axis, affine = target.slice_axis or 0, np.asarray(image.affine, dtype=np.float64)
    voxels = np.tile([*((np.array(image.shape[1:]) - 1) / 2), 1.0], (image.shape[1 + axis], 1))
    voxels[:, axis] = np.arange(len(voxels))
    return (voxels @ affine.T)[:, axis].round(3).tolist()


def in_file(target: BundleTarget, clean: PreprocessedFile, slices: torch.Tensor) -> np.ndarray:
    """Whether each voxel of the clean file lies in these slices, (H, W, D)."""
    mark = torch.zeros(1, *clean.image.shape[1:])
    target.cases(mark)[slices] = 1
    return on_grid(mark, clean.image, load_grid(clean.file))[0].numpy() > 0


def attack_record(
    target: BundleTarget, attack: DAG, clean: PreprocessedFile, attacked: AttackedFile, file: Path
) -> Record:
    """Settings and success of an attack, and by how much it changed the file, in intensity windows."""
    low, high = clean.image.meta["intensity_window"]
    change = np.abs(read_values(file) - clean.values()) / (high - low)
    prediction = target.cases(on_grid(attacked.prediction, attacked.image, clean.image))
    return {
        "name": attack.info.name,
        "settings": stable_repr(attack),
        "target": str(attack.target),
        "max_steps": attack.max_steps,
        "slices": sum(len(batch.cases) for batch in attacked.batches),
        **success_record(attack, attacked.batches, prediction),
        "largest_change": float(change.max()),
        "mean_change_where_changed": float(change[change > 0].mean()) if bool((change > 0).any()) else 0.0,
    }


def calibration_record(detector_weights: str | Path) -> Record:
    """What a shield was calibrated to, read from its detector's weights."""
    calibration = Calibration(**read_weights(detector_weights)["_extra_state"])
    return {
        "threshold": calibration.threshold,
        "t_fp": calibration.t_fp,
        "rule": calibration.rule,
        "slices": len(calibration.scores),
        "subjects": calibration.num_volumes,
        "subjects_needed_for_a_promise_per_subject": round(1 / calibration.t_fp) - 1,
        "volume_limit": calibration.volume_limit,
        "source": calibration.source,
    }


def scan_record(decision: Record, positions: Sequence[float], slab: tuple[float, float]) -> Record:
    """
    What the shield said of one scan.

    Args:
        decision: what the shielded bundle wrote of it.
        positions: of each slice, in mm.
        slab: from where to where the slab reaches, in mm.

    Raises:
        ValueError: where decision and positions disagree on the number of slices.
    """
    columns = [decision[f"slice_{name}"] for name in ("scores", "p_values", "rejected")]
    if any(len(column) != len(positions) for column in columns):
        raise ValueError(f"{len(columns[0])} scores for {len(positions)} slices.")
    slices = [
        {
            "slice": index,
            "position_mm": position,
            "score": score,
            "p_value": p_value,
            "rejected": rejected,
            "in_slab": slab[0] <= position <= slab[1],
        }
        for index, (position, score, p_value, rejected) in enumerate(zip(positions, *columns))
        if score is not None or rejected
    ]
    inside = [each for each in slices if each["in_slab"]]
    return {
        **{name: decision[name] for name in ("rejected", "score", "threshold", "p_value", "reason")},
        "slices_scored": decision["scored"],
        "slices_rejected": sum(each["rejected"] for each in slices),
        "slab_slices_scored": len(inside),
        "slab_slices_rejected": sum(each["rejected"] for each in inside),
        "slab_median_p_value": float(np.median([each["p_value"] for each in inside])) if inside else None,
        "slices": slices,
    }


def dice_records(
    reference: np.ndarray, answers: Mapping[str, np.ndarray], slab: np.ndarray, structures: Sequence[str]
) -> Record:
    """
    Dice of several answers against one, on the stacked slices.

    Args:
        reference: class indices, (H, W, D): the network's own answer to the clean scan.
        answers: name to class indices of the same shape.
        slab: where the attack was, (H, W, D).
        structures: names of the classes, background left out.

    Returns:
        "slab" and "scan": the mean over the structures by answer; "structures": by name and answer, inside the slab;
        None where a structure is absent from both.
    """
    by_structure: Record = {name: {} for name in structures}
    means: Record = {"slab": {}, "scan": {}}
    for name, answer in answers.items():
        for part, inside in (("slab", slab > 0), ("scan", slab >= 0)):
            first, second = (torch.from_numpy(each[inside][None].astype(np.int64)) for each in (answer, reference))
            dice = dice_of_counts(overlap_counts(first, second, len(structures) + 1))[0].numpy()
            there = dice[np.isfinite(dice)]
            means[part][name] = float(there.mean()) if len(there) else None
            if part == "slab":
                for structure, value in zip(structures, dice):
                    by_structure[structure][name] = float(value) if np.isfinite(value) else None
    return {**means, "structures": by_structure}
