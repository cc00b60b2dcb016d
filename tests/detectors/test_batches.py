# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn
from torch.utils.data import Subset

from monai_shield.detectors import Detector, ViewBatches
from monai_shield.transforms.foreground import Foreground

IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("images", [IMAGES, list(IMAGES), [{"image": image, "slice": 3} for image in IMAGES]])
def test_all_images_come_in_order_however_often(images):
    batches = ViewBatches(images, batch_size=2)
    for _ in range(2):
        found = [views.image for views in batches]
        assert [len(image) for image in found] == [2, 2, 1]
        assert torch.equal(torch.cat(found), IMAGES)


def test_a_part_of_a_data_set_will_do():
    (views,) = ViewBatches(Subset(IMAGES, range(0, 5, 2)))
    assert torch.equal(views.image, IMAGES[::2])


def test_the_views_are_those_of_the_shield():
    target, reformer = nn.Conv2d(1, 3, 1), nn.AvgPool2d(3, 1, 1)
    (views,) = ViewBatches(IMAGES, target, reformer, Foreground(above=0.5), "sigmoid")
    assert torch.equal(views.reformed_prediction, target(reformer(IMAGES)))
    assert torch.equal(views.foreground, (IMAGES > 0.5)[:, 0])
    assert views.head == "sigmoid"


def test_the_random_state_is_left_alone():
    before = torch.get_rng_state()
    list(ViewBatches(IMAGES))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_detector_that_holds_a_nan_and_cannot_fit_it_is_told():
    class Forgotten(Detector):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.tensor(torch.nan))

    with pytest.raises(NotImplementedError, match="Forgotten holds a NaN, but has nothing to fit"):
        Forgotten().fit(ViewBatches(IMAGES))
