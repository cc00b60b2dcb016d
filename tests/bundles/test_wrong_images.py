# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Images that do not belong, by the shipped weights: what is told, and what cannot be told."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigParser, run
from scipy.ndimage import rotate

from monai_shield.bundle import ShieldCalibrator, load_weights
from monai_shield.data import SliceDataset, cohort_subject
from monai_shield.detectors import Plausibility

SHIPPED = Path(__file__).parents[2] / "bundles" / "brain_mri_shield"
CORONAL = (0, 2)


def _ghosted(volume, level, axis, copies):
    size = volume.shape[axis]
    shifts = [round(number * size / (copies + 1)) for number in range(1, copies + 1)]
    return volume + level * sum(np.roll(volume, shift, axis) for shift in shifts)


def _tight(volume):
    inside = np.argwhere(volume > 0)
    return volume[tuple(slice(low, high) for low, high in zip(inside.min(0), inside.max(0) + 1))]


def _slab(volume, slices=8):
    middle = volume.shape[1] // 2
    return volume[:, middle - slices // 2 : middle + slices // 2]


#: Row of the table: (what becomes of the voxels while the header stays, what the reason says; None where it passes).
WHOLE = {
    "clean": (lambda v: v, None),
    "cropped tightly around the brain": (_tight, None),
    "tilted by 10°": (lambda v: rotate(v, 10, axes=CORONAL, order=1), None),
    "rotated by 45°": (lambda v: rotate(v, 45, axes=CORONAL, order=1), "of 27 structures are of a size or in a place"),
    "rotated by 90°": (lambda v: np.rot90(v, 1, CORONAL), "of 27 structures are of a size or in a place"),
    "upside down": (lambda v: v[:, :, ::-1], "of 27 structures are of a size or in a place"),
    "back to front": (lambda v: v[:, ::-1], "skewness back-front"),
    "axial slices as coronal": (lambda v: v.transpose(0, 2, 1), "spreads back-front to down-up are as"),
    "sagittal slices as coronal": (lambda v: v.transpose(1, 0, 2), "spreads left-right to back-front are as"),
    "ghosts that fill the background": (lambda v: _ghosted(v, 0.1, 0, 3), "spread (standard deviation) left-right is"),
    "mirrored left to right": (lambda v: v[::-1], None),
}
SLABS = {
    "cropped along the slices": (lambda v: v, None),
    "cropped and rotated by 90°": (lambda v: np.rot90(v, 1, CORONAL), "spread (standard deviation) down-up is"),
    "cropped, with ghosts": (lambda v: _ghosted(v, 0.1, 0, 3), "spread (standard deviation) left-right is"),
}


@pytest.fixture(scope="module")
def shipped():
    """The networks of the bundle; what is plausible must be in its calibration."""
    pytest.importorskip("nilearn", reason="the embedded cohort needs nilearn: pip install 'monai-shield[demo]'")
    if not (SHIPPED / "models" / "model.pt").is_file():
        pytest.skip("the bundle has no weights.")
    parser = ConfigParser()
    parser.read_config(SHIPPED / "configs" / "inference.json")
    parser.update({"bundle_root": str(SHIPPED), "device": "$torch.device('cpu')"})
    detector, reformer, preprocessing, network = (
        parser.get_parsed_content(name) for name in ("detector", "reformer", "preprocessing", "network")
    )
    load_weights(network, parser.get_parsed_content("target_weights"))
    plausible = Plausibility(**detector.calibrated().plausibility)
    return ShieldCalibrator(network, detector, reformer), preprocessing, plausible


def _save(path, voxels, affine):
    nib.save(nib.Nifti1Image(np.rint(voxels).astype(np.int16), affine), path)
    return path


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_brain_that_is_not_what_its_header_says_is_told(name, shipped, tmp_path):
    """Every fourth slice; the mirrored one cannot be told: brains are alike on both sides."""
    calibrator, preprocessing, plausible = shipped
    image = cohort_subject(700)["image"]
    change, reason = WHOLE[name]
    file = _save(tmp_path / "scan.nii", change(image[0].numpy().astype(np.float32)), image.affine.numpy())
    slices = SliceDataset([{"image": str(file), "id": name}], preprocessing, ["image"], every=4, progress=False)
    judged = plausible.judge(calibrator.statistics([slices])[name])
    if reason is None:
        assert not judged.reason, judged
        assert not any("cuts the foreground off" in finding for finding in judged.findings)
    else:
        assert reason in judged.reason
        assert judged.findings


@pytest.fixture(scope="module")
def slabs(shipped, tmp_path_factory):
    """One run of the bundle over slabs of eight slices."""
    folder, image = tmp_path_factory.mktemp("slabs"), cohort_subject(700)["image"]
    slab = _slab(image[0].numpy().astype(np.float32))
    for number, (change, _) in enumerate(SLABS.values()):
        _save(folder / f"slab{number}.nii", change(slab), image.affine.numpy())
    run(
        config_file=str(SHIPPED / "configs" / "inference.json"),
        bundle_root=str(SHIPPED),
        dataset_dir=[str(folder / f"slab{number}.nii") for number in range(len(SLABS))],
        output_dir=str(folder / "out"),
        device="cpu",
        logging_file=False,
    )
    return {
        name: (
            json.loads((folder / "out" / f"slab{number}_shield.json").read_text()),
            np.asarray(nib.load(folder / "out" / f"slab{number}_seg.nii.gz").dataobj),
        )
        for number, name in enumerate(SLABS)
    }


@pytest.mark.parametrize("name", SLABS)
def test_of_a_part_of_a_brain_what_can_be_checked_is_and_the_rest_is_said(name, slabs):
    decision, label = slabs[name]
    reason = SLABS[name][1]
    assert decision["status"] == ("rejected" if reason else "accepted")
    assert label.any() == (reason is None)
    if reason:
        assert reason in decision["reason"]
    assert any("the file cuts the foreground off along" in finding for finding in decision["findings"])


def test_left_out_one_by_one_no_clean_subject_is_rejected(shipped):
    _, _, plausible = shipped
    subjects = [
        {name: float(value) for name, value in zip(plausible.names, row) if not value.isnan()}
        for row in plausible.values
    ]
    assert len(subjects) >= 15
    for number, subject in enumerate(subjects):
        assert not Plausibility.fit(subjects[:number] + subjects[number + 1 :]).judge(subject).reason


def test_the_page_has_a_row_for_each_of_these_and_no_other():
    page = (SHIPPED.parents[1] / "docs" / "bad_input.md").read_text()
    section = page.partition("\n## What does not belong\n")[2].partition("\n## ")[0]
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in section.splitlines() if line.startswith("| ")}
    assert set(rows) - {"image", "---"} == set(WHOLE) | set(SLABS)
    for name, (_, reason) in (WHOLE | SLABS).items():
        assert f"| {'accepted' if reason is None else 'rejected'} |" in rows[name]
        assert (reason or "").removesuffix(" is").removesuffix(" are as") in rows[name]
