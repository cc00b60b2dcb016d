# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Spacingd

from monai_shield.transforms import OwnSpacingd


def scan():
    affine = torch.diag(torch.tensor([2.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    return MetaTensor(torch.rand(1, 6, 5, 4, generator=torch.Generator().manual_seed(0)), affine=affine)


def test_it_is_monai_s_and_leaves_what_is_named_after_its_key():
    data = {"image": scan(), "image_path": "scan.nii.gz"}
    result = OwnSpacingd("image", pixdim=(1.0, 1.0, 1.0))(data)
    expected = Spacingd("image", pixdim=(1.0, 1.0, 1.0))({"image": scan()})["image"]
    torch.testing.assert_close(result["image"].as_tensor(), expected.as_tensor(), rtol=0, atol=0)
    torch.testing.assert_close(result["image"].affine, expected.affine)
    assert result["image_path"] == "scan.nii.gz"


def test_it_can_be_undone():
    spacing = OwnSpacingd("image", pixdim=(1.0, 1.0, 1.0))
    undone = spacing.inverse(spacing({"image": scan(), "image_path": "scan.nii.gz"}))
    assert undone["image"].shape == (1, 6, 5, 4)
    torch.testing.assert_close(undone["image"].affine, scan().affine)


def test_a_missing_key_is_an_error_unless_it_may_be_missing():
    with pytest.raises(KeyError, match="image"):
        OwnSpacingd("image", pixdim=(1.0, 1.0, 1.0))({"label": scan()})
    assert set(OwnSpacingd("image", pixdim=(1.0, 1.0, 1.0), allow_missing_keys=True)({"label": scan()})) == {"label"}
