# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Files are read where the NIfTI standard says that they lie."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.data import NibabelReader
from monai.transforms import LoadImage

from monai_shield.data import StandardNibabelReader

LAS = np.diag([-1.0, 1.0, 1.0, 1.0])
VALUES = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def save(path, change, sform=LAS):
    """A file with a sform, a qform that it says it has not, and a header that was changed."""
    image = nib.Nifti1Image(VALUES, sform)
    image.set_sform(sform, code=1)
    image.set_qform(np.eye(4), code=0)
    image.header["pixdim"][1:4] = 1
    change(image.header)
    nib.save(image, path)
    return path


def put(name, place, value):
    def change(header):
        header[name][place] = value

    return change


SHEARED = LAS + np.array([[0, 0.02, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
SWAPPED = {
    "pixdim minutely off": (put("pixdim", 1, 0.9999), LAS),
    "pixdim far off": (put("pixdim", 2, 100), LAS),
    "sform scaled": (lambda header: None, LAS @ np.diag([1.001, 1.001, 1.001, 1])),
    "sform sheared": (lambda header: None, SHEARED),
}


@pytest.mark.parametrize("name", SWAPPED)
def test_where_the_file_says_and_not_where_pixdim_would_have_it(name, tmp_path):
    change, sform = SWAPPED[name]
    path = save(tmp_path / "scan.nii", change, sform)
    read = LoadImage(StandardNibabelReader(), ensure_channel_first=True)(path)
    np.testing.assert_array_equal(read[0], VALUES)
    np.testing.assert_allclose(read.affine, nib.load(path).affine, atol=1e-6)
    np.testing.assert_allclose(read.meta["original_affine"], sform, atol=1e-6)


def test_monai_s_own_reader_swaps_left_and_right(tmp_path):
    """Why there is another one; once this fails it can go."""
    path = save(tmp_path / "scan.nii", put("pixdim", 1, 0.9999))
    assert nib.aff2axcodes(nib.load(path).affine)[0] == "L"
    assert nib.aff2axcodes(LoadImage(NibabelReader())(path).affine.numpy())[0] == "R"


@given(
    pixdim=st.lists(st.floats(0.125, 100, width=32), min_size=3, max_size=3),
    codes=st.tuples(st.integers(0, 4), st.integers(0, 4)).filter(any),
    scale=st.floats(0.5, 2),
)
def test_whatever_the_header_says_it_is_nibabel_s_affine(tmp_path_factory, pixdim, codes, scale):
    path = tmp_path_factory.mktemp("any") / "scan.nii"
    image = nib.Nifti1Image(VALUES, LAS @ np.diag([scale, 1, 1, 1]))
    image.set_qform(np.diag([1.0, 1.0, -1.0, 1.0]), code=1)
    image.header["pixdim"][1:4] = pixdim
    image.header["vox_offset"] = 352
    image.header["sform_code"], image.header["qform_code"] = codes
    path.write_bytes(image.header.binaryblock + bytes(4) + VALUES.tobytes(order="F"))
    read = LoadImage(StandardNibabelReader())(path)
    np.testing.assert_allclose(read.affine, nib.load(path).affine, atol=1e-6)


def test_several_files_are_channels(tmp_path):
    paths = [save(tmp_path / f"{number}.nii", put("pixdim", 1, 0.9999)) for number in range(2)]
    read = LoadImage(StandardNibabelReader(), ensure_channel_first=True)(paths)
    assert read.shape == (2, *VALUES.shape)
    np.testing.assert_allclose(read.affine, LAS)
