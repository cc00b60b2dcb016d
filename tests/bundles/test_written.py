# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A written label is compared with its file by nibabel alone."""

import nibabel as nib
import numpy as np
import pytest

from monai_shield.bundle import check_written

LAS = np.diag([-1.0, 1.2, 0.8, 1.0]) + np.array([[0, 0, 0, 90.5], [0, 0, 0, -126.25], [0, 0, 0, -72.1], [0, 0, 0, 0]])
VALUES = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)


def save(path, values=VALUES, affine=LAS):
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def moved(row, column, change):
    affine = LAS.copy()
    affine[row, column] += change
    return affine


@pytest.fixture
def image(tmp_path):
    return save(tmp_path / "scan.nii", VALUES.astype(np.int16))


@pytest.mark.parametrize("affine", [LAS, LAS.astype(np.float32), moved(0, 3, 0.005), moved(1, 1, 1e-3)])
def test_in_its_place_but_for_rounding(affine, image, tmp_path):
    check_written(save(tmp_path / "label.nii.gz", affine=affine), image)


WRONG = {
    "left and right swapped": ({"affine": np.diag([-1.0, 1, 1, 1]) @ LAS}, "would lie 181 mm off"),
    "flipped along its own axis": ({"affine": LAS @ np.diag([-1.0, 1, 1, 1])}, "mm off"),
    "a voxel further": ({"affine": moved(2, 3, 0.8)}, "would lie 0.8 mm off"),
    "a little too large": ({"affine": moved(1, 1, 0.01)}, "mm off"),
    "nowhere": ({"affine": moved(0, 3, np.nan)}, "would lie nan mm off"),
    "cropped": ({"values": VALUES[:2]}, r"would have shape \(2, 4, 5\), not \(3, 4, 5\)"),
    "permuted": ({"values": VALUES.T}, "would have shape"),
    "too many classes for its type": ({"values": np.uint8(VALUES + 100).astype(np.int8)}, "negative classes"),
    "classes not chosen": ({"values": np.stack([VALUES] * 2, -1)}, "2 channels that hold more than 0 and 1"),
    "probabilities": ({"values": VALUES / 60}, "type float64"),
}


@pytest.mark.parametrize("name", WRONG)
def test_anything_else_is_refused_and_names_the_image(name, image, tmp_path):
    how, reason = WRONG[name]
    with pytest.raises(ValueError, match=reason) as error:
        check_written(save(tmp_path / "label.nii.gz", **how), image)
    assert str(error.value).startswith(f"'{image}': ")
    assert len(str(error.value).splitlines()) == 1


def test_labels_of_their_own_lie_along_the_last_axis(image, tmp_path):
    check_written(save(tmp_path / "label.nii", np.stack([VALUES % 2, VALUES % 3 == 0], -1).astype(np.uint8)), image)


def test_those_of_a_softmax_may_not(image, tmp_path):
    label = save(tmp_path / "label.nii", np.zeros((*VALUES.shape, 2), np.uint8))
    check_written(label, image, "sigmoid")
    with pytest.raises(ValueError, match=r"would have shape \(3, 4, 5, 2\), not \(3, 4, 5\)"):
        check_written(label, image, "softmax")


def test_half_a_label_is_none(image, tmp_path):
    label = save(tmp_path / "label.nii")
    label.write_bytes(label.read_bytes()[:-8])
    with pytest.raises((OSError, ValueError)):
        check_written(label, image)
