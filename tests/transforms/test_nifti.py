# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Voxels that are written lie where they should and are what they were."""

import nibabel as nib
import numpy as np
import pytest

from monai_shield.transforms import read_values, write_nifti

#: Oblique, with voxels of 1 x 2 x 3 mm.
AFFINE = np.array([[0.8, -1.2, 0.0, 5.0], [0.6, 1.6, 0.0, -7.0], [0.0, 0.0, 3.0, 2.0], [0.0, 0.0, 0.0, 1.0]])


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5), (4, 5, 6, 2)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_voxels_type_and_place_are_kept(shape, dtype, tmp_path):
    values = np.random.default_rng(0).integers(0, 99, shape).astype(dtype)
    write_nifti(values, AFFINE, tmp_path / "scan.nii.gz")
    write_nifti(values + 1, tmp_path / "scan.nii.gz", tmp_path / "new" / "label.nii")
    for name, expected in (("scan.nii.gz", values), ("new/label.nii", values + 1)):
        file = nib.load(tmp_path / name)
        assert file.get_data_dtype() == dtype
        assert np.array_equal(np.asarray(file.dataobj), expected)
        assert np.array_equal(read_values(tmp_path / name), expected)
        for affine in (file.affine, file.get_qform(), file.get_sform()):
            np.testing.assert_allclose(affine, AFFINE, atol=1e-5)
        assert file.header.get_xyzt_units() == ("mm", "sec")


def test_what_cannot_be_written_leaves_the_file_that_was_there(tmp_path):
    write_nifti(np.ones((2, 2, 2), np.uint8), AFFINE, tmp_path / "label.nii")
    with pytest.raises(nib.spatialimages.HeaderDataError):
        write_nifti(np.ones((2, 2, 2), complex).astype("O"), AFFINE, tmp_path / "label.nii")
    assert read_values(tmp_path / "label.nii").sum() == 8
    assert [path.name for path in tmp_path.iterdir()] == ["label.nii"]
