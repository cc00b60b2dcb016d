# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The demo's attack, from a file to a file."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, CropForegroundd, LoadImaged, Orientationd, SpatialPadd

from monai_shield.attacks import DAG
from monai_shield.report import demo_attack
from monai_shield.transforms import ScaleToWindowd


@pytest.fixture
def bare_target(made_up_demo):
    """Two classes by a threshold on the intensity: bright is foreground."""
    network = torch.nn.Conv2d(1, 3, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([-20.0, 20.0, 0.0]).reshape(3, 1, 1, 1))
        network.bias.copy_(torch.tensor([10.0, -10.0, -30.0]))
    steps = [
        LoadImaged("image", image_only=True, ensure_channel_first=True),
        Orientationd("image", axcodes="LAS", labels=None),
        ScaleToWindowd("image"),
        CropForegroundd("image", source_key="image", allow_smaller=True),
        SpatialPadd("image", spatial_size=(16, -1, 16)),
    ]
    return demo_attack.BareTarget(
        network.eval(),
        Compose(steps),
        made_up_demo.STRUCTURES,
        (16, 16),
        made_up_demo.AXIS,
        torch.device("cpu"),
        batch_size=3,
    )


# the same subject in the network's own orientation and in another one
@pytest.fixture(
    params=[np.diag([-1.0, 1, 1, 1]), np.array([[0.0, -1, 0, 5], [-1, 0, 0, 7], [0, 0, 1, 9], [0, 0, 0, 1]])]
)
def clean_file(request, tmp_path, made_up_demo):
    values = made_up_demo.voxels() if request.param[0, 0] else made_up_demo.voxels().transpose(1, 0, 2)[::-1].copy()
    made_up_demo.write(tmp_path / "clean.nii.gz", values, request.param)
    return tmp_path / "clean.nii.gz"


def test_an_attack_stays_in_its_slab_in_the_brain_and_in_the_type_of_the_file(bare_target, clean_file):
    image = bare_target.load(clean_file)
    slab = demo_attack.middle_slab(bare_target.slices(image), 4)
    path = clean_file.parent / "attacked.nii.gz"
    record = demo_attack.attack_slab(bare_target, image, DAG.park("background"), slab, clean_file, path)
    clean, attacked = nib.load(clean_file), nib.load(path)
    assert attacked.get_data_dtype() == np.int16
    np.testing.assert_array_equal(attacked.affine, clean.affine)
    changed = np.asarray(attacked.dataobj) != np.asarray(clean.dataobj)
    inside = bare_target.in_file(torch.ones(image.shape, dtype=torch.uint8), image)
    assert changed.any()
    assert not changed[np.asarray(clean.dataobj) == 0].any()
    mark = torch.zeros(image.shape, dtype=torch.uint8)
    mark[:, :, slab.start : slab.stop] = 1
    assert not changed[bare_target.in_file(mark, image) == 0].any()
    assert inside[changed].all()
    assert record["slices"] == 4
    # the attack has what it wants: nothing bright is left to be foreground
    before, after = (bare_target.segment(bare_target.load(file)) for file in (clean_file, path))
    assert (before[changed] == 1).mean() > 0.5
    assert (after[changed] == 1).mean() < 0.1
    json.dumps(record, allow_nan=False)


def test_a_segmentation_lies_on_the_voxels_of_its_file(bare_target, clean_file):
    image = bare_target.load(clean_file)
    label = bare_target.segment(image)
    path = clean_file.parent / "seg" / "label.nii.gz"
    demo_attack.write_label(label, clean_file, path)
    voxels, window = np.asarray(nib.load(clean_file).dataobj), image.meta["intensity_window"]
    np.testing.assert_array_equal(demo_attack.read_voxels(path) == 1, voxels / window[1] > 0.5)
    np.testing.assert_array_equal(nib.load(path).affine, nib.load(clean_file).affine)


def test_slices_know_where_they_lie(bare_target, clean_file):
    image = bare_target.load(clean_file)
    positions = bare_target.positions(image)
    assert np.diff(positions).tolist() == [1.0] * (len(positions) - 1)
    mark = torch.zeros(image.shape, dtype=torch.uint8)
    mark[:, :, 3] = 1
    places = np.argwhere(bare_target.in_file(mark, image))
    world = (nib.load(clean_file).affine @ np.c_[places, np.ones(len(places))].T)[1]
    assert set(world.tolist()) == {positions[3]}


def test_the_slab_lies_in_the_middle_of_the_foreground():
    slices = torch.zeros(20, 1, 4, 4)
    slices[5:15] = 1
    assert demo_attack.middle_slab(slices, 4) == range(8, 12)
    assert demo_attack.middle_slab(slices, 100) == range(5, 15)
