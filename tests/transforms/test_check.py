# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import gzip

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImaged, Orientationd

from monai_shield.transforms import CheckNiftiFile, CheckNiftiFiled, CheckVolume, CheckVolumed, OwnSpacingd

VALUES = np.random.default_rng(0).integers(0, 100, (6, 7, 8)).astype(np.int16)


def nifti(values=VALUES, affine=None, sform=1, qform=1, kind=nib.Nifti1Image):
    affine = np.diag([-2.0, 1.5, 1.0, 1.0]) if affine is None else affine
    image = kind(values, affine)
    image.set_sform(affine, code=sform)
    image.set_qform(affine, code=qform)
    return image


def moved(image, shift):
    """The same with a qform that lies elsewhere."""
    affine = image.get_sform()
    affine[:3, 3] += shift
    image.set_qform(affine, code=1)
    return image


def damaged(image, change):
    """The bytes of a file that ``change`` was applied to."""
    content = bytearray(image.to_bytes())
    change(content)
    return bytes(content)


def united(code):
    image = nifti()
    image.header["xyzt_units"] = code
    return image


def grow(content, size):
    content[42:48] = np.array([size] * 3, dtype="<i2").tobytes()


def put(content, offset, *numbers):
    content[offset : offset + 4 * len(numbers)] = np.array(numbers, dtype="<f4").tobytes()


def flip(content):
    """One bit of what is compressed, in the middle."""
    compressed = bytearray(gzip.compress(content, mtime=0))
    compressed[len(compressed) // 2] ^= 1
    return bytes(compressed)


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
REFUSED = {
    "text": (b"no image at all\n" * 100, "not a NIfTI file"),
    "nothing": (b"", "not a NIfTI file"),
    "half a header": (nifti().to_bytes()[:200], "not a NIfTI file"),
    "truncated": (nifti().to_bytes()[:-3], "is truncated: 1021 of 1024 bytes"),
    "header only": (nifti().to_bytes()[:352], "is truncated"),
    "truncated gz": (gzip.compress(nifti().to_bytes())[:-40], "is damaged|or a damaged one"),
    "gz without its check sum": (gzip.compress(nifti().to_bytes())[:-8], "is damaged"),
    "gz of a truncated file": (gzip.compress(nifti().to_bytes()[:-3]), "is truncated"),
    "gz with one bit flipped": (flip(nifti().to_bytes()), "is damaged|not a NIfTI file"),
    "no gz": (nifti().to_bytes(), "not a NIfTI file"),
    "4D": (nifti(np.stack([VALUES] * 2, axis=-1)), r"has shape \(6, 7, 8, 2\)"),
    "5D": (nifti(VALUES[..., None, None]), r"has shape \(6, 7, 8, 1, 1\)"),
    "2D": (nifti(VALUES[..., 0]), r"has shape \(6, 7\)"),
    "RGB": (nifti(np.zeros((6, 7, 8), RGB)), "are colors"),
    "complex": (nifti(VALUES.astype(np.complex64)), "complex numbers"),
    "one voxel": (nifti(VALUES[:1, :1, :1]), "at least two voxels"),
    "one slice": (nifti(VALUES[:, :1]), "at least two voxels"),
    "qform elsewhere": (moved(nifti(), (0, 30, 0)), "sform and qform disagree by up to 30.0 mm"),
    "sform and qform mirrored": (moved(nifti(), (0, 0, 0)), None),
    "neither sform nor qform": (nifti(sform=0, qform=0), "has neither sform nor qform"),
    "flat affine": (damaged(nifti(qform=0), lambda c: put(c, 280, 0, 0, 0, 0)), "affine cannot be inverted"),
    "NaN affine": (damaged(nifti(qform=0), lambda c: put(c, 280, np.nan)), "affine cannot be inverted"),
    "NaN qform": (damaged(nifti(), lambda c: put(c, 268, np.nan)), "sform and qform disagree by up to nan"),
    "in meters": (united(1), "its voxel size is in meters; expected mm"),
    "in micrometers": (united(3), "its voxel size is in micrometers"),
    "in a unit that nobody knows": (united(5), "a unit of the unknown code 5"),
    "an origin that swallows the voxels": (
        nifti(affine=np.diag([-2.0, 1.5, 1.0, 1.0]) + 1e20 * np.eye(4, k=3)),
        "lies 1e\\+20 mm from the origin, more than 10000",
    ),
    "a number beyond reading": (moved(nifti(), (0, 1e30, 0)), "disagree by up to 1e\\+30 mm"),
    "more voxels than are allowed": (damaged(nifti(), lambda c: grow(c, 2000)), "has 8e\\+09 voxels, more than 2.7e"),
    "voxels of 1000 µm": (nifti(affine=np.diag([-1000.0, 1000, 1000, 1])), "is 8000 mm long, more than 1000"),
}
# A mirror image in the qform, which is what happens when software rewrites one of the two.
_mirrored = nifti()
_mirrored.set_qform(np.diag([2.0, 1.5, 1.0, 1.0]), code=1)
REFUSED["sform and qform mirrored"] = (_mirrored, "sform and qform disagree")

PASSED = {
    "plain": nifti(),
    "only sform": nifti(qform=0),
    "only qform": nifti(sform=0),
    "half a millimeter apart": moved(nifti(), (0.3, 0.3, 0.2)),
    "oblique": nifti(affine=nib.affines.from_matvec([[0.9, -0.3, 0], [0.3, 0.9, 0], [0, 0, 1]], [5, 6, 7])),
    "one volume in four dimensions": nifti(VALUES[..., None]),
    "NIfTI-2": nifti(kind=nib.Nifti2Image),
    "float64": nifti(VALUES.astype(np.float64)),
    "big-endian": nib.Nifti1Image(VALUES, np.eye(4), nib.Nifti1Header(endianness=">")),
}


def write(path, content):
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        nib.save(content, path)
    return path


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_one_line_that_names_the_file(name, tmp_path):
    content, reason = REFUSED[name]
    path = write(tmp_path / ("scan.nii.gz" if "gz" in name else "scan.nii"), content)
    for given in (path, str(path)):
        with pytest.raises(ValueError, match=reason) as error:
            CheckNiftiFile()(given)
        assert str(error.value).startswith(f"'{path}': ")
        assert len(str(error.value).splitlines()) == 1


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path / "missing.nii", tmp_path):
        with pytest.raises(FileNotFoundError, match="no such file"):
            CheckNiftiFile()(path)


def test_another_kind_of_image_is_refused(tmp_path):
    nib.save(nib.MGHImage(VALUES, np.eye(4)), tmp_path / "scan.mgz")
    with pytest.raises(ValueError, match="not a NIfTI file but MGHImage"):
        CheckNiftiFile()(tmp_path / "scan.mgz")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".img"])
@pytest.mark.parametrize("name", PASSED)
def test_passed_and_left_alone(name, suffix, tmp_path):
    content = PASSED[name]
    if suffix == ".img":
        kind = nib.Nifti2Pair if name == "NIfTI-2" else nib.Nifti1Pair
        content = kind(np.asanyarray(content.dataobj), content.affine, content.header)
    path = write(tmp_path / f"scan{suffix}", content)
    assert CheckNiftiFile()(path) == path
    assert CheckNiftiFiled("image")({"image": str(path), "other": 1}) == {"image": str(path), "other": 1}


def test_tolerance_and_extent_are_settings(tmp_path):
    far = write(tmp_path / "far.nii", moved(nifti(), (0, 30, 0)))
    assert CheckNiftiFile(tolerance=31)(far) == far
    large = write(tmp_path / "large.nii", REFUSED["voxels of 1000 µm"][0])
    assert CheckNiftiFiled("image", max_extent=9000)({"image": large}) == {"image": large}


@pytest.mark.parametrize(
    ("shape", "diagonal"), [((64, 4, 64), (-6, 240, 5.9)), ((64, 64, 4), (-6, 5.9, 240)), ((4, 64, 64), (-240, 6, 5.9))]
)
def test_the_size_after_resampling_is_known_before_anything_is_loaded(shape, diagonal, tmp_path):
    """70 KB that pass the largest extent and would ask for 21 GB; the number is what resampling makes of it."""
    path = write(tmp_path / "scan.nii", nifti(np.ones(shape, np.uint8), np.diag([*map(float, diagonal), 1.0])))
    check = CheckNiftiFile(pixdim=(1, 1, 1), max_voxels=2**25)
    with pytest.raises(ValueError, match=r"has 1e\+08 voxels once resampled, more than 3\.4e\+07"):
        check(path)
    small = write(tmp_path / "small.nii", nifti(np.ones((6, 4, 5), np.uint8), np.diag([-3.0, 4.0, 2.0, 1.0])))
    loaded = LoadImaged("image", ensure_channel_first=True)({"image": str(small)})
    made = OwnSpacingd("image", (1, 1, 1))(Orientationd("image", "LAS", labels=None)(loaded))["image"]
    voxels = made[0].numel()
    assert CheckNiftiFile(pixdim=(1, 1, 1), max_voxels=voxels)(small) == small
    with pytest.raises(ValueError, match="once resampled"):
        CheckNiftiFile(pixdim=(1, 1, 1), max_voxels=voxels - 1)(small)


@pytest.mark.parametrize("loaded", [VALUES, torch.from_numpy(VALUES), MetaTensor(VALUES), None, 5])
def test_what_is_no_path_was_loaded_elsewhere_and_passes(loaded):
    assert CheckNiftiFile()(loaded) is loaded


IMAGE = torch.rand(1, 6, 7, 8)
UNFIT = {
    "NaN": (torch.where(IMAGE.max() == IMAGE, torch.nan, IMAGE), "NaN or infinite"),
    "infinite": (torch.where(IMAGE.max() == IMAGE, -torch.inf, IMAGE), "NaN or infinite"),
    "all zero": (IMAGE * 0, "every voxel has the same value"),
    "constant": (IMAGE * 0 + 7, "every voxel has the same value"),
    "no voxels": (IMAGE[:, :0], "is empty"),
    "two channels": (IMAGE.repeat(2, 1, 1, 1), "has 2 channels; expected 1"),
    "no channel": (IMAGE[0, 0], r"has shape \(7, 8\)"),
    "a batch": (IMAGE[None], r"has shape \(1, 1, 6, 7, 8\)"),
    "complex": (IMAGE.to(torch.complex64), "complex"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_unfit_images_are_refused_by_name(name):
    image, reason = UNFIT[name]
    for given in (image, image.numpy()):
        with pytest.raises(ValueError, match=reason):
            CheckVolume()(given)
    named = MetaTensor(image, meta={"filename_or_obj": "scan.nii"})
    with pytest.raises(ValueError, match=reason) as error:
        CheckVolumed("image")({"image": named})
    assert str(error.value).startswith("'scan.nii': ")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "image", [IMAGE, IMAGE[..., 0], IMAGE.numpy(), MetaTensor(IMAGE), IMAGE.mul(100).to(torch.int16)]
)
def test_fit_images_pass_as_they_are(image):
    assert CheckVolume()(image) is image
    assert CheckVolume(channels=3)(IMAGE.repeat(3, 1, 1, 1)).shape[0] == 3


def test_monai_s_own_error_still_names_the_file(tmp_path):
    """The first error in the chain of a pipeline is the one line."""
    path = write(tmp_path / "scan.nii", nifti(np.zeros((6, 7, 8), np.int16)))
    pipeline = Compose(
        [CheckNiftiFiled("image"), LoadImaged("image", ensure_channel_first=True), CheckVolumed("image")]
    )
    with pytest.raises(RuntimeError) as error:
        pipeline({"image": str(path)})
    cause = error.value
    while cause.__cause__ is not None:
        cause = cause.__cause__
    assert str(cause) == f"'{path}': is empty: every voxel has the same value."
