# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What becomes of every kind of bad or unusual input; docs/bad_input.md tells it, row by row, and is checked here."""

import gzip
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from monai_shield.data import cohort_subject
from monai_shield.detectors import UncalibratedError
from monai_shield.utils import write_sum
from support.inference import infer

REPOSITORY = Path(__file__).parents[2]
SHIPPED = REPOSITORY / "bundles" / "brain_mri_shield"
LAS = np.diag([-1.0, 1.0, 1.0, 1.0])
SMALL = (48, 24, 44)
FIELD = ((30, 26), (5, 9), (20, 36))


def record(folder, name):
    return json.loads((folder / f"{name}_shield.json").read_text())


def label(folder, name):
    return nib.load(folder / f"{name}_seg.nii.gz")


def causes(error):
    while error is not None:
        yield error
        error = error.__cause__


# --- files that are refused -------------------------------------------------------------------------------------------


def _image(values, affine=LAS, kind=nib.Nifti1Image):
    image = kind(values, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    return image


def _with(values, value):
    values = values.astype(np.float32)
    values[tuple(size // 2 for size in values.shape)] = value
    return values


def _neither(values):
    image = _image(values.astype(np.int16))
    image.set_sform(LAS, code=0)
    image.set_qform(LAS, code=0)
    return image


def _apart(values):
    image = _image(values.astype(np.int16))
    image.set_qform(np.diag([1.0, 1.0, 1.0, 1.0]), code=1)
    return image


def _flipped(values):
    content = bytearray(gzip.compress(_image(values.astype(np.int16)).to_bytes(), mtime=0))
    content[len(content) // 2] ^= 1
    return bytes(content)


#: Row of the table: (suffix, what a file of a small brain's voxels is made to, the error).
REFUSED = {
    "no NIfTI file": (".nii.gz", lambda v: b"no image at all\n" * 1000, "not a NIfTI file, or a damaged one"),
    "truncated .nii": (".nii", lambda v: _image(v.astype(np.int16)).to_bytes()[:50_000], "is truncated"),
    "truncated .nii.gz": (".nii.gz", lambda v: gzip.compress(_image(v.astype("i2")).to_bytes())[:-500], "is damaged"),
    ".nii.gz with a bit flipped": (".nii.gz", _flipped, "is damaged"),
    "no such file": (".nii", lambda v: None, "no such file"),
    "several volumes (4D)": (".nii", lambda v: _image(np.stack([v] * 2, -1).astype(np.int16)), "expected one volume"),
    "one slice (2D)": (".nii", lambda v: _image(v[:, 0].astype(np.int16)), "expected one volume of three dimensions"),
    "colors (RGB)": (".nii", lambda v: _image(np.zeros(v.shape, [(c, "u1") for c in "RGB"])), "are colors"),
    "complex numbers": (".nii", lambda v: _image(v.astype(np.complex64)), "complex numbers"),
    "a NaN": (".nii", lambda v: _image(_with(v, np.nan)), "NaN or infinite voxels"),
    "an infinity": (".nii", lambda v: _image(_with(v, -np.inf)), "NaN or infinite voxels"),
    "numbers beyond float32": (".nii", lambda v: _image(v * 1e300), "NaN or infinite voxels"),
    "all zero": (".nii", lambda v: _image(np.zeros(v.shape, np.int16)), "every voxel has the same value"),
    "one value everywhere": (".nii", lambda v: _image(np.full(v.shape, 7, np.int16)), "every voxel has the same value"),
    "one voxel": (".nii", lambda v: _image(v[20:21, 10:11, 20:21].astype(np.int16)), "at least two voxels"),
    "brain larger than the network's slice": (".nii", None, "the detector's frequencies are those of"),
    "sform and qform disagree": (".nii", _apart, "sform and qform disagree by up to"),
    "neither sform nor qform": (".nii", _neither, "which side is left cannot be known"),
    "voxels of 1000 mm": (
        ".nii",
        lambda v: _image(v.astype(np.int16), LAS @ np.diag([1e3, 1e3, 1e3, 1])),
        "is its unit",
    ),
    "voxels of hundredths of a millimeter": (
        ".nii",
        lambda v: _image(v.astype(np.int16), LAS @ np.diag([0.02, 0.02, 0.02, 1])),
        "has no intensity window",
    ),
}


@pytest.fixture(scope="module")
def refusals(tiny_bundle, brain, tmp_path_factory):
    """One run over all of them, a good file last."""
    folder = tmp_path_factory.mktemp("bad")
    values = brain(shape=SMALL)
    files = {}
    for number, (name, (suffix, make, _)) in enumerate(REFUSED.items()):
        files[name] = folder / f"bad{number}{suffix}"
        content = _image(brain(shape=(116, 16, 70)).astype(np.int16)) if make is None else make(values)
        if isinstance(content, bytes):
            files[name].write_bytes(content)
        elif content is not None:
            nib.save(content, files[name])
    files["good"] = folder / "good.nii"
    nib.save(_image(brain().astype(np.int16)), files["good"])
    code, logged = infer(tiny_bundle, files.values(), folder / "out")
    return files, folder / "out", code, logged


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_one_line_that_names_the_file_and_no_label(name, refusals):
    files, out, _, logged = refusals
    found = record(out, files[name].name.split(".")[0])
    assert found == {"file": str(files[name]), "status": "error", "reason": found["reason"]}
    assert REFUSED[name][2] in found["reason"]
    assert len(found["reason"].splitlines()) == 1
    assert "Traceback" not in found["reason"]
    lines = [entry.getMessage() for entry in logged if str(files[name]) in entry.getMessage()]
    assert lines == [f"{files[name]}: error ({found['reason']})"]
    assert not list(out.glob(f"{files[name].name.split('.')[0]}_seg*"))


def test_the_run_goes_on_to_the_last_file_and_says_that_not_all_was_well(refusals):
    files, out, code, logged = refusals
    assert code == 1
    summary = json.loads((out / "shield.json").read_text())
    assert [entry["status"] for entry in summary] == ["error"] * len(REFUSED) + ["accepted"]
    assert [entry["file"] for entry in summary] == [str(file) for file in files.values()]
    assert f"{len(files)} files: 0 rejected, {len(REFUSED)} failed." in [entry.getMessage() for entry in logged]
    assert not any(entry.exc_info for entry in logged)
    assert np.asarray(label(out, "good").dataobj).any()


# --- files that are unusual, and right --------------------------------------------------------------------------------


def _flipped(values, codes):
    image = _image(values.astype(np.int16))
    target = nib.orientations.axcodes2ornt(codes)
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("LAS"), target))
    turned.set_qform(turned.affine, code=1)
    return turned


def _scaled(values, dtype, slope, inter):
    image = _image(((values - inter) / slope).astype(dtype))
    image.header.set_slope_inter(slope, inter)
    return image


def _big_endian(values):
    image = nib.Nifti1Image(values.astype(">i2"), LAS, nib.Nifti1Header(endianness=">"))
    image.set_sform(LAS, code=1)
    return image


def _oblique(values):
    a, b = np.deg2rad((20, 12))
    about_z = [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    about_x = [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    return _image(
        values.astype(np.int16), nib.affines.from_matvec(np.array(about_z) @ about_x @ LAS[:3, :3], (5, 6, 7))
    )


TYPES = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64)
#: Row of the table: what a file of the brain's voxels is made to. Its label is the plain file's, voxel by voxel.
THE_SAME = {
    **{f"voxels of type {np.dtype(t).name}": lambda v, t=t: _image(v.astype(t)) for t in TYPES},
    "scl_slope and scl_inter": lambda v: _scaled(v, np.int16, 0.25, -5.0),
    "axes flipped": lambda v: _flipped(v, "RPI"),
    "axes permuted": lambda v: _flipped(v, "SLA"),
    "axes flipped and permuted": lambda v: _flipped(v, "PIR"),
    "oblique affine": _oblique,
    "negative intensities": lambda v: _image((v - 1024).astype(np.int16)),
    "one volume in four dimensions": lambda v: _image(v[..., None].astype(np.int16)),
    "NIfTI-2": lambda v: _image(v.astype(np.int16), kind=nib.Nifti2Image),
    "big-endian": _big_endian,
    "brain smaller than the network's slice": None,
}


@pytest.fixture(scope="module")
def unusual(tiny_bundle, brain, tmp_path_factory):
    """One run over all of them, none emptied; the plain file is the reference."""
    folder = tmp_path_factory.mktemp("unusual")
    values = brain(shape=SMALL)
    images = {name: make(values) for name, make in THE_SAME.items() if make is not None}
    images["brain smaller than the network's slice"] = images["plain"] = _image(values.astype(np.int16))
    images["in a larger field of view"] = _image(np.pad(values, FIELD).astype(np.int16))
    images["other voxels"] = _image(brain(shape=(32, 24, 34)).astype(np.int16), LAS @ np.diag([1.6, 1.2, 1.4, 1]))
    files = {name: folder / f"scan{number}.nii" for number, name in enumerate(images)}
    for name, image in images.items():
        nib.save(image, files[name])
    code, _ = infer(tiny_bundle, files.values(), folder / "out", on_reject="keep")
    assert code == 0
    return {
        name: (nib.load(file), label(folder / "out", file.stem), record(folder / "out", file.stem))
        for name, file in files.items()
    }


@pytest.mark.parametrize("name", THE_SAME)
def test_the_label_is_the_plain_file_s_in_the_file_s_own_space(name, unusual):
    image, found, decision = unusual[name]
    assert found.shape == image.shape[:3]
    np.testing.assert_allclose(found.affine, image.affine, atol=1e-6)
    if name.startswith("brain smaller"):
        reference = np.asarray(unusual["in a larger field of view"][1].dataobj)
        inside = tuple(slice(low, -high) for low, high in FIELD)
        assert np.count_nonzero(reference) == np.count_nonzero(reference[inside])
        reference, ours = reference[inside], np.asarray(found.dataobj)
    else:
        reference, ours = (np.asarray(_in_las(each).dataobj) for each in (unusual["plain"][1], found))
        assert decision["score"] == pytest.approx(unusual["plain"][2]["score"])
        scores, plain = (d["slice_scores"] for d in (decision, unusual["plain"][2]))
        assert [s is None for s in scores] == [s is None for s in plain]  # too little foreground in the same slices
        assert [s for s in scores if s is not None] == pytest.approx([s for s in plain if s is not None], rel=1e-4)
    assert len(np.unique(reference)) > 10
    assert (ours == reference).mean() > 0.9999


def _in_las(image):
    turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt("LAS"))
    return image.as_reoriented(turn)


def test_another_voxel_size_gives_a_label_in_the_file_s_own_space(unusual):
    """Resampled to 1 mm and back: as many voxels as the file has, and the brain where it is."""
    image, found, _ = unusual["other voxels"]
    assert found.shape == image.shape
    np.testing.assert_allclose(found.affine, image.affine)
    foreground, values = np.asarray(image.dataobj) > 0, np.asarray(found.dataobj)
    assert len(np.unique(values[foreground])) > 10
    labeled = np.argwhere(values)
    extent = np.argwhere(foreground)
    assert np.abs(labeled.min(0) - extent.min(0)).max() <= 1
    assert np.abs(labeled.max(0) - extent.max(0)).max() <= 1


# --- what the networks do not know ------------------------------------------------------------------------------------


def _in_a_head(values, generator):
    """A dark gap and a bright scalp around the brain."""
    near = binary_dilation(values > 0, iterations=4)
    far = binary_dilation(near, iterations=9)
    gap, scalp = (generator.normal(mean, deviation, values.shape) for mean, deviation in ((250, 60), (1100, 150)))
    return np.where(values > 0, values, np.clip(np.where(near, gap, scalp), 1, None) * far)


#: Row of the table: (what a slab of a brain is made to, whether it is rejected).
UNKNOWN = {
    "cropped along the slices": (lambda v, g: v, False),
    "faint noise around the brain": (lambda v, g: np.where(v > 0, v, g.integers(0, 15, v.shape)), False),
    "not skull-stripped": (_in_a_head, True),
    "another contrast": (lambda v, g: np.where(v > 0, 1600 - np.clip(v, 0, 1590), 0), True),
    "cropped in the plane of the slices": (lambda v, g: v * (np.arange(v.shape[2]) > v.shape[2] // 2), True),
}


@pytest.fixture(scope="module")
def unknown(tmp_path_factory):
    """The shipped bundle on eight coronal slices of a subject of the embedded cohort, and on the middle four."""
    pytest.importorskip("nilearn", reason="the embedded cohort needs nilearn: pip install 'monai-shield[demo]'")
    if not (SHIPPED / "models" / "model.pt").is_file():
        pytest.skip("the bundle has no weights.")
    folder, generator = tmp_path_factory.mktemp("unknown"), np.random.default_rng(0)
    image = cohort_subject(700)["image"]
    middle = image.shape[2] // 2
    slab = image[0, :, middle - 4 : middle + 4].numpy().astype(float)
    images = {name: make(slab, generator) for name, (make, _) in UNKNOWN.items()} | {"four": slab[:, 2:6]}
    files = {name: folder / f"scan{number}.nii" for number, name in enumerate(images)}
    for name, values in images.items():
        nib.save(_image(values.astype(np.int16), image.affine.numpy()), files[name])
    code, _ = infer(SHIPPED, files.values(), folder / "out")
    assert code == 0
    labels = {name: np.asarray(label(folder / "out", file.stem).dataobj) for name, file in files.items()}
    return slab > 0, labels, {name: record(folder / "out", file.stem) for name, file in files.items()}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_the_networks_do_not_know_is_rejected_with_a_reason_or_segmented_rightly(name, unknown):
    brain, labels, decisions = unknown
    decision, rejected = decisions[name], UNKNOWN[name][1]
    assert decision["status"] == ("rejected" if rejected else "accepted")
    assert decision["scored"] == 8
    if rejected:
        assert "slices are rejected, more than the largest share of a clean validation volume" in decision["reason"]
        assert not labels[name].any()
    elif name == "cropped along the slices":
        assert (labels[name] > 0)[brain].mean() > 0.9
        assert not (labels[name] > 0)[~brain].mean() > 0.01
        assert (labels[name][:, 2:6] == labels["four"])[brain[:, 2:6]].mean() > 0.97
    else:
        assert (labels[name] == labels["cropped along the slices"])[brain].mean() > 0.95


# --- the shield itself is missing, altered or not calibrated ----------------------------------------------------------

WEIGHTS = {
    "target's weights": "model.pt",
    "detector's weights": "shield/detector.pt",
    "reformer's weights": "shield/reformer.pt",
}
SPOILED = {
    "missing": "is missing",
    "altered": "was altered: its SHA-256 sum is not the recorded one",
    "without a sum": "has no sum in",
    "those of another network": "cannot be loaded",
}


def _spoil(file, how):
    if how == "missing":
        file.unlink()
    elif how == "altered":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif how == "without a sum":
        sums = file.parent / "SHA256SUMS"
        sums.write_text("".join(line for line in sums.read_text().splitlines(True) if file.name not in line))
    else:
        torch.save(torch.nn.Linear(1, 1).state_dict(), file)
        write_sum(file)


@pytest.mark.parametrize("how", SPOILED)
@pytest.mark.parametrize("whose", WEIGHTS)
def test_no_segmentation_with_spoiled_weights_but_one_line_that_names_them(
    whose, how, tiny_repository, brain_file, tmp_path
):
    root = tiny_repository / "bundles" / "brain_mri_shield"
    file = root / "models" / WEIGHTS[whose]
    _spoil(file, how)
    with pytest.raises((ValueError, FileNotFoundError, RuntimeError)) as error:
        infer(root, [brain_file()], tmp_path / "out")
    (line,) = [str(e) for e in causes(error.value) if str(e).startswith(f"weight file '{file}' ")]
    assert SPOILED[how] in line
    assert len(line.splitlines()) == 1
    assert not list((tmp_path / "out").glob("*"))


def test_an_uncalibrated_shield_refuses(tiny_repository, brain_file, tmp_path):
    root = tiny_repository / "bundles" / "brain_mri_shield"
    file = root / "models" / "shield" / "detector.pt"
    torch.save(torch.load(file, weights_only=True) | {"_extra_state": {}}, file)
    write_sum(file)
    with pytest.raises(RuntimeError) as error:
        infer(root, [brain_file()], tmp_path / "out")
    (reason,) = [e for e in causes(error.value) if isinstance(e, UncalibratedError)]
    assert str(reason) == "CombinedDetector is not calibrated: run the bundle's calibration first."
    assert not list((tmp_path / "out").glob("*"))


# --- what the page says -----------------------------------------------------------------------------------------------

OTHERS = {"another voxel size", "an uncalibrated shield"}


def test_the_page_has_a_row_for_each_of_these_and_no_other():
    page = (REPOSITORY / "docs" / "bad_input.md").read_text().partition("\n## What does not belong\n")[0]
    rows = [cells for line in page.splitlines() if (cells := re.findall(r"(?<=\| ).*?(?= \|)", line))]
    rows = [cells for cells in rows if cells[0] not in ("input", "weights", "---")]
    weights = {f"{whose} {how}" for whose in WEIGHTS for how in SPOILED}
    assert len(rows) == len({cells[0] for cells in rows})
    assert {cells[0] for cells in rows} == set(REFUSED) | set(THE_SAME) | set(UNKNOWN) | weights | OTHERS
    for cells in rows:
        if cells[0] in REFUSED:
            assert cells[1] == "error"
            assert REFUSED[cells[0]][2] in cells[2]
        elif cells[0] in UNKNOWN:
            assert cells[1].startswith("rejected" if UNKNOWN[cells[0]][1] else "accepted")
