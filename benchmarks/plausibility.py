# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What the check of plausibility is worth: clean scans it rejects, wrong images it catches, beside the detector alone.

The statistics of the training and validation subjects say what is plausible; the scans of a split are then judged
clean, and as files whose voxels are not what their header says. A scan that was done is not done again.
"""

from __future__ import annotations

import datetime
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fire
import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser
from scipy.ndimage import rotate
from tqdm import tqdm

from monai_shield.bundle import ShieldCalibrator, load_weights
from monai_shield.data import SliceDataset, volume_datalist
from monai_shield.detectors import Plausibility
from monai_shield.inferers import ImageDecision
from monai_shield.inferers.decisions import judge
from monai_shield.transforms import shield_decision

CONFIG = Path(__file__).parents[1] / "bundles" / "brain_mri_shield" / "configs" / "inference.json"
CORONAL = (0, 2)  # the axes of a coronal slice of a volume in LAS


def ghosted(volume: np.ndarray, level: float, axis: int, copies: int) -> np.ndarray:
    """The volume with `copies` shifted ones of itself added, evenly spaced along an axis and around its ends."""
    size = volume.shape[axis]
    ghosts = sum(np.roll(volume, round(number * size / (copies + 1)), axis) for number in range(1, copies + 1))
    return volume + level * ghosts


def slab(volume: np.ndarray, slices: int = 8) -> np.ndarray:
    """The middle coronal slices."""
    middle = volume.shape[1] // 2
    return volume[:, middle - slices // 2 : middle + slices // 2]


#: What becomes of a volume in LAS, while its header stays as it is.
KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "clean": lambda v: v,
    "eight coronal slices (to be accepted)": slab,
    "rotated by 45° in the coronal plane": lambda v: rotate(v, 45, axes=CORONAL, order=1),
    "rotated by 90° in the coronal plane": lambda v: np.rot90(v, 1, CORONAL),
    "upside down": lambda v: v[:, :, ::-1],
    "axial slices as coronal": lambda v: v.transpose(0, 2, 1),
    "three ghosts of 10 % left to right": lambda v: ghosted(v, 0.1, 0, 3),
    "a ghost of 30 % left to right": lambda v: ghosted(v, 0.3, 0, 1),
    "mirrored left to right (cannot be told)": lambda v: v[::-1],
}


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of `count` subjects, in percent."""
    z = 1.96
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, 100 * (middle - half)), min(100.0, 100 * (middle + half))


def parts_of_the_bundle() -> tuple[ConfigParser, torch.nn.Module]:
    """The bundle on the CPU, and its target with its weights."""
    parser = ConfigParser()
    parser.read_config(CONFIG)
    parser["device"] = "$torch.device('cpu')"
    network = parser.get_parsed_content("network").eval()
    load_weights(network, parser.get_parsed_content("target_weights"))
    return parser, network


def clean_subjects(dataset_dir: str, parser: ConfigParser, network: torch.nn.Module) -> dict[str, dict[str, float]]:
    """The statistics of the training subjects (every fourth slice) and of the validation subjects."""
    datasets = [
        SliceDataset(
            volume_datalist(dataset_dir, split, labels=False),
            parser.get_parsed_content("preprocessing"),
            keys=("image",),
            every=every,
        )
        for split, every in (("val", 1), ("train", 4))
    ]
    inferer = parser.get_parsed_content("inferer")
    return ShieldCalibrator(network, inferer.detector, inferer.reformer).statistics(datasets)


def judged(file: Path, parser: ConfigParser, network: torch.nn.Module, plausible: Plausibility) -> dict[str, Any]:
    """What the shipped detector alone and what the check of plausibility alone make of a file."""
    image = parser.get_parsed_content("preprocessing")({"image": str(file)})["image"][None]
    inferer = parser.get_parsed_content("inferer")
    # the check is measured apart, whether the shipped calibration holds one or not
    object.__setattr__(inferer.detector.calibration, "plausibility", None)
    with torch.no_grad():
        logits = inferer(image, network)
    nothing = ImageDecision(score=None, threshold=0.0, p_value=None, rejected=False, reason="")
    found = judge(nothing, plausible, 0, image, logits.as_tensor())
    return {"detector": shield_decision(logits).rejected, "plausibility": found.rejected, "reason": found.reason}


def main(
    dataset_dir: str,
    split: str = "test",
    threads: int = 2,
    results: str = "runs/plausibility/results.jsonl",
) -> None:
    """Print the tables.

    Args:
        dataset_dir: folder of the data set, with its splits.
        split: whose scans are judged.
        threads: number of threads.
        results: file of what was done so far, a line a scan; delete it to start anew.
    """
    torch.set_num_threads(threads)
    parser, network = parts_of_the_bundle()
    path, done = Path(results), {}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        done = {tuple(row["key"]): row for row in map(json.loads, path.read_text().splitlines())}
    subjects_file = path.with_name("subjects.json")
    if not subjects_file.is_file():
        subjects_file.write_text(json.dumps(clean_subjects(dataset_dir, parser, network)))
    subjects = json.loads(subjects_file.read_text())
    plausible = Plausibility.fit(list(subjects.values()))
    assert plausible is not None
    scans = volume_datalist(dataset_dir, split, labels=False)
    todo = [(kind, scan) for kind in KINDS for scan in scans if (kind, scan["id"]) not in done]
    for kind, scan in tqdm(todo, unit="file"):
        source = nib.load(scan["image"])
        voxels = np.rint(KINDS[kind](np.asarray(source.dataobj, dtype=np.float32))).astype(np.int16)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "scan.nii"
            nib.save(nib.Nifti1Image(voxels, source.affine), file)
            row = judged(file, parser, network, plausible)
        done[kind, scan["id"]] = row = {"key": (kind, scan["id"]), **row}
        with path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
    subjects = [scan["subject"] for scan in scans]
    count = len(set(subjects))
    print(f"{datetime.date.today()}, {split}: {len(scans)} scans of {count} subjects; plausible is what comes near to ")
    print(f"{len(subjects)} clean subjects. Rejected scans, and the 95 % interval of the rate (Wilson, by subject).\n")
    print("| image | detector alone | plausibility alone | either |\n|---|---|---|---|")
    for kind in KINDS:
        cells = []
        for rule in (["detector"], ["plausibility"], ["detector", "plausibility"]):
            hit = np.array([any(done[kind, scan["id"]][name] for name in rule) for scan in scans])
            rates = [hit[[other == subject for other in subjects]].mean() for subject in dict.fromkeys(subjects)]
            low, high = wilson(float(np.mean(rates)), count)
            cells.append(f"{hit.sum()} of {len(scans)} ({low:.0f}–{high:.0f} %)")
        print(f"| {kind} | {' | '.join(cells)} |")
    out = [
        name
        for name, subject in subjects.items()
        if (rest := Plausibility.fit([other for key, other in subjects.items() if key != name]))
        and rest.judge(subject).reason
    ]
    print(f"\nLeft out one by one, {len(out)} of the {len(subjects)} clean subjects are rejected by the others.")


if __name__ == "__main__":
    fire.Fire(main)
