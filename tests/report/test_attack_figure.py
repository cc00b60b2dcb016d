# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import nibabel as nib
import numpy as np
import pytest

from monai_shield.report import AttackedSlice, attack_figure

LAS = np.diag([-1.0, 2.0, 3.0, 1.0])


def files(folder, codes="LAS", channels=1):
    """Clean, attacked, both predictions: of all voxels with j = 5 the prediction changes, with k = 3 of a few."""
    clean = np.zeros((12, 14, 10))
    clean[2:8, 3:11, 2:9] = 50 + 10 * np.arange(6)[:, None, None]
    attacked = clean.copy()
    attacked[4, 5, 4] += 25
    before = (clean > 0).astype(np.uint8)
    after = before.copy()
    after[:, 5] *= 2
    after[3:5, 4, 3] = 0
    found = []
    for name, values in (("clean", clean), ("attacked", attacked), ("before", before), ("after", after)):
        image = nib.Nifti1Image(values.astype(np.float32), LAS)
        if channels > 1 and name in ("before", "after"):
            image = nib.Nifti1Image(np.stack([values == 1, values == 2], -1).astype(np.uint8), LAS)
        turn = nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt("LAS"), nib.orientations.axcodes2ornt(codes)
        )
        nib.save(image.as_reoriented(turn), folder / f"{name}.nii")
        found.append(folder / f"{name}.nii")
    return found


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("codes", ["LAS", "RPS", "SRA"])
def test_the_slice_with_most_damage_as_a_radiologist_sees_it(codes, channels, tmp_path):
    view = AttackedSlice.of_files(*files(tmp_path, codes, channels), window=(0, 200), world_axis=1)
    assert (view.before == 1).sum() == (view.after == 2).sum() == 6 * 7
    assert view.aspect == 3
    change = view.attacked - view.clean
    assert np.isclose(change.max(), 25 / 200)
    assert (change != 0).sum() == 1
    # the file is LAS, so the patient's right is its first voxel and stands on the left, where it is darker
    foreground = view.clean[view.clean > 0].reshape(6, 7)
    assert (np.diff(foreground, axis=0) > 0).all()
    assert view.clean.shape == (12, 10)  # the foreground and 4 pixels around it, where the volume has them


def test_where_nothing_changed_there_is_a_picture_all_the_same(tmp_path):
    clean, _, before, _ = files(tmp_path)
    for axis in range(3):
        view = AttackedSlice.of_files(clean, clean, before, before, window=(0, 200), world_axis=axis, caption="scan")
        assert (view.clean > 0).any()
        assert not (view.attacked - view.clean).any()
        assert attack_figure([view, view], "title").startswith(b"\x89PNG")


def test_a_plane(tmp_path):
    values = np.zeros((8, 9), np.float32)
    values[2:5, 3:6] = 1
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "plane.nii")
    path = tmp_path / "plane.nii"
    view = AttackedSlice.of_files(path, path, path, path, window=(0, 1), world_axis=2)
    assert view.clean.sum() == 9
