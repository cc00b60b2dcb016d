# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import itertools

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, CropForegroundd, LoadImaged, Orientationd, Spacingd, SpatialPadd
from scipy.ndimage import binary_erosion

from monai_shield.transforms import PreprocessedFile, ScaleToWindowd, export_attack, write_like

TYPES = [np.int8, np.uint8, np.int16, np.uint16, np.float32]
SHAPE = (24, 20, 28)


def preprocessing(scaled=True, keys="image"):
    """The brain bundle's geometry, with or without its intensity window."""
    steps = [
        LoadImaged(keys, image_only=True, ensure_channel_first=True),
        Orientationd(keys, axcodes="LAS", labels=None),
        Spacingd(keys, pixdim=(1.0, 1.0, 1.0), mode="bilinear"),
        ScaleToWindowd("image"),
        CropForegroundd(keys, source_key="image", allow_smaller=True),
        SpatialPadd(keys, spatial_size=(32, -1, 32)),
    ]
    return Compose(steps if scaled else [step for step in steps if not isinstance(step, ScaleToWindowd)])


def clean_file(brain, path, dtype=np.int16, slope=1.0, inter=0.0, affine=None):
    """A brain whose real values are whole multiples of the slope, its background 0."""
    affine = np.diag([-1.0, 1.0, 1.0, 1.0]) if affine is None else affine
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    image = nib.Nifti1Image((brain(shape=SHAPE) - inter / slope).astype(dtype), affine, header)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_slope_inter(slope, inter)
    nib.save(image, path)
    return path


def values_of(path):
    return np.asarray(nib.load(path).dataobj, dtype=np.float64)


def attacked(path, out, amplitude=0.05, smooth=False):
    """Export a perturbation of the brain; returns it, in the unit of the file and the space of the network."""
    transform = preprocessing()
    clean = transform({"image": str(path)})["image"]
    if smooth:
        waves = torch.stack(
            torch.meshgrid(*(torch.arange(n) * 2 * torch.pi / 40 for n in clean.shape[1:]), indexing="ij")
        )
        perturbation = amplitude * waves.sin().prod(dim=0)[None]
    else:
        perturbation = amplitude * (2 * torch.rand(clean.shape) - 1)
    perturbation *= clean.as_tensor() > 0
    export_attack(perturbation, PreprocessedFile(path, transform), out)
    low, high = clean.meta["intensity_window"]
    return perturbation[0].numpy() * (high - low)


def difference(first, second):
    """second - first in the space of the network; found by going there, not by coming back."""
    transform = preprocessing(scaled=False)
    a, b = (transform({"image": str(path)})["image"][0].numpy().astype(np.float64) for path in (first, second))
    return b - a, a


@pytest.mark.parametrize(("slope", "inter"), [(1.0, 0.0), (0.5, 0.0), (0.5, -4.0), (2.0, -6.0)])
@pytest.mark.parametrize("dtype", TYPES)
def test_read_back_it_is_clean_plus_perturbation_to_half_a_unit(dtype, slope, inter, brain, tmp_path):
    clean, out = clean_file(brain, tmp_path / "clean.nii", dtype, slope, inter), tmp_path / "attacked.nii.gz"
    perturbation = attacked(clean, out)
    found, foreground = difference(clean, out)
    half = 0.5 * slope if np.issubdtype(dtype, np.integer) else 1e-5 * slope
    np.testing.assert_allclose(found[foreground != 0], perturbation[foreground != 0], atol=half + 1e-4 * slope)
    assert np.abs(found).max() > 2 * slope  # there was something to write
    background = values_of(clean) == 0
    assert background.mean() > 0.3
    assert np.array_equal(values_of(out)[background], values_of(clean)[background])
    a, b = nib.load(clean), nib.load(out)
    assert b.get_data_dtype() == a.get_data_dtype() == dtype
    assert (b.dataobj.slope, b.dataobj.inter) == (a.dataobj.slope, a.dataobj.inter) == (slope, inter)
    np.testing.assert_array_equal(b.affine, a.affine)
    for code in ("sform_code", "qform_code", "xyzt_units"):
        assert b.header[code] == a.header[code]


ORIENTATIONS = ["".join(codes) for codes in itertools.product("LR", "AP", "SI")] + ["SRP", "PIR", "IAL"]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_it_lands_on_its_own_voxels_however_the_file_lies(orientation, brain, tmp_path):
    straight = nib.load(clean_file(brain, tmp_path / "straight.nii"))
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("LAS"), nib.orientations.axcodes2ornt(orientation)
    )
    turned = straight.as_reoriented(turn)
    turned.set_qform(turned.affine, code=1)
    nib.save(turned, tmp_path / "clean.nii")
    assert "".join(nib.aff2axcodes(turned.affine)) == orientation
    perturbation = attacked(tmp_path / "clean.nii", tmp_path / "attacked.nii")
    found, foreground = difference(tmp_path / "clean.nii", tmp_path / "attacked.nii")
    np.testing.assert_allclose(found[foreground != 0], perturbation[foreground != 0], atol=0.501)


@pytest.mark.parametrize(("size", "tolerance"), [(0.8, 0.02), (1.25, 0.025), (1.5, 0.03)])
def test_a_smooth_perturbation_survives_another_voxel_size(size, tolerance, brain, tmp_path):
    """Resampled twice, a wave of 40 mm is the same within 3 %, but for the foreground's rim, where the mask cuts it."""
    clean = clean_file(brain, tmp_path / "clean.nii", np.float32, affine=np.diag([-size, size, size, 1.0]))
    out = tmp_path / "attacked.nii"
    perturbation = attacked(clean, out, smooth=True)
    found, foreground = difference(clean, out)
    inside = binary_erosion(foreground > 0, np.ones((3, 3, 3)), iterations=3)
    assert inside.mean() > 0.01
    amplitude = np.abs(perturbation)[inside].max()
    assert amplitude > 1
    assert np.abs(found - perturbation)[inside].max() < tolerance * amplitude
    assert values_of(out).shape == SHAPE
    assert not values_of(out)[values_of(clean) == 0].any()


def test_what_a_type_cannot_hold_is_clipped_to_it(brain, tmp_path):
    clean, out = clean_file(brain, tmp_path / "clean.nii", np.int8), tmp_path / "attacked.nii"
    perturbation = attacked(clean, out, amplitude=3.0)
    found, before = difference(clean, out)
    expected = np.clip(before + perturbation, -128, 127) - before
    np.testing.assert_allclose(found[before != 0], expected[before != 0], atol=0.501)


def test_a_preprocessing_made_for_labels_too_will_do(brain, tmp_path):
    clean = clean_file(brain, tmp_path / "clean.nii")
    transform = preprocessing(keys=["image", "label"])
    data = transform({"image": str(clean), "label": str(clean)})
    image = data["image"]
    export_attack(
        torch.full_like(image.as_tensor(), 0.05), PreprocessedFile(clean, transform), tmp_path / "attacked.nii"
    )
    low, high = image.meta["intensity_window"]
    foreground = values_of(clean) > 0
    change = (values_of(tmp_path / "attacked.nii") - values_of(clean))[foreground]
    assert set(change) == {round(0.05 * (high - low))}


def test_nothing_changes_the_clean_image(brain, tmp_path):
    clean = clean_file(brain, tmp_path / "clean.nii")
    transform = preprocessing()
    image = transform({"image": str(clean)})["image"]
    kept, operations, content = image.clone(), len(image.applied_operations), clean.read_bytes()
    for name in ("a.nii", "b.nii"):
        export_attack(torch.full_like(image.as_tensor(), 0.05), PreprocessedFile(clean, transform), tmp_path / name)
    assert torch.equal(image, kept)
    assert len(image.applied_operations) == operations
    assert clean.read_bytes() == content
    assert (tmp_path / "a.nii").read_bytes() == (tmp_path / "b.nii").read_bytes()


def test_no_perturbation_gives_the_clean_voxels(brain, tmp_path):
    for dtype in TYPES:
        clean = clean_file(brain, tmp_path / "clean.nii", dtype, 0.5, -4.0)
        attacked(clean, tmp_path / "same.nii", amplitude=0.0)
        np.testing.assert_array_equal(values_of(tmp_path / "same.nii"), values_of(clean))


def test_one_volume_in_four_dimensions(brain, tmp_path):
    image = nib.load(clean_file(brain, tmp_path / "three.nii"))
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[..., None], image.affine), tmp_path / "clean.nii")
    attacked(tmp_path / "clean.nii", tmp_path / "attacked.nii")
    assert nib.load(tmp_path / "attacked.nii").shape == (*SHAPE, 1)


def test_another_shape_is_refused_and_nothing_is_written(brain, tmp_path):
    clean = clean_file(brain, tmp_path / "clean.nii")
    with pytest.raises(ValueError, match=r"shape \(3, 3, 3\)"):
        write_like(np.zeros((3, 3, 3)), clean, tmp_path / "out.nii")
    assert not (tmp_path / "out.nii").exists()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32])
def test_write_like_rounds_and_clips(dtype, tmp_path):
    limits = np.iinfo(dtype)
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), dtype), np.eye(4), dtype=dtype), tmp_path / "like.nii")
    values = np.array([1.4, 1.6, 2.5, 99.5, float(limits.min) * 2, float(limits.max) * 2, 0, 7]).reshape(2, 2, 2)
    write_like(values, tmp_path / "like.nii", tmp_path / "out.nii")
    raw = np.asarray(nib.load(tmp_path / "out.nii").dataobj).reshape(-1).tolist()
    assert raw == [1, 2, 2, 100, limits.min, limits.max, 0, 7]
