# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A shield inside of what stitches windows together: an error or its decision, never a plain label."""

import logging

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import (
    AvgMerger,
    PatchInferer,
    SliceInferer,
    SlidingWindowInferer,
    SlidingWindowInfererAdapt,
    SlidingWindowSplitter,
)

from monai_shield.detectors import Calibration, Detector
from monai_shield.inferers import LostDecisionError, RejectedImageError, ShieldInferer

THRESHOLD = 0.9


class Brightest(Detector):
    """The brightest pixel, rejected above 0.9."""

    def __init__(self):
        super().__init__()
        self.calibration = Calibration(torch.linspace(0, 1, 39).double(), THRESHOLD, 0.05, volume_limit=0.0)

    def forward(self, views):
        return views.image.flatten(1).amax(1)


STITCHERS = {
    "windows": (SlidingWindowInferer((8, 8), sw_batch_size=2, overlap=0.25), 2),
    "one by one": (SlidingWindowInferer((8, 8), sw_batch_size=1, overlap=0.25), 2),
    "buffered": (SlidingWindowInferer((8, 8), sw_batch_size=2, overlap=0.25, buffer_steps=1, buffer_dim=0), 2),
    "adaptive": (SlidingWindowInfererAdapt((8, 8), sw_batch_size=2), 2),
    "windows in 3D": (SlidingWindowInferer((8, 8, 8), sw_batch_size=2), 3),
    "slices": (SliceInferer(spatial_dim=1, roi_size=(8, 8), sw_batch_size=2), 3),
    "patches": (PatchInferer(SlidingWindowSplitter((8, 8)), AvgMerger), 2),
}


def image_of(dims, strange):
    """An image of which one corner alone is too bright."""
    image = torch.rand(1, 1, *[16] * dims) * 0.8 + 0.05
    image[(0, 0, *[2] * dims)] = 1.0 if strange else 0.5
    return image


def network(image):
    return torch.cat([0.5 - image, image - 0.5], 1)


@pytest.fixture(params=STITCHERS)
def stitcher(request):
    return STITCHERS[request.param]


@pytest.mark.parametrize("kept", ["plain", "meta"])
@pytest.mark.parametrize("strange", [True, False])
def test_inside_it_is_refused_with_what_to_do(stitcher, kept, strange):
    """Whether or not a window is rejected: the score of an accepted one would be lost just so."""
    inferer, dims = stitcher
    image = image_of(dims, strange)
    shield = ShieldInferer(Brightest())
    image = MetaTensor(image) if kept == "meta" else image
    with pytest.raises(LostDecisionError, match=r"put it around, as in shield\(image, lambda") as caught:
        inferer(image, lambda window: shield(window, network))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("strange", [True, False])
def test_around_its_decision_is_in_the_result(stitcher, strange):
    inferer, dims = stitcher
    image = image_of(dims, strange)
    out = ShieldInferer(Brightest())(image, lambda x: inferer(x, network))
    torch.testing.assert_close(out.as_tensor(), network(image))
    (decision,) = out.meta["shield"]
    assert decision.rejected == strange
    sliced = ShieldInferer(Brightest(), slice_axis=0)
    if dims == 3:
        windows = SlidingWindowInferer((8, 8))
        (decision,) = sliced(image, lambda x: windows(x, network)).meta["shield"]
        assert decision.slice_rejected == [strange and number == 2 for number in range(16)]


def test_inside_it_may_raise(stitcher):
    inferer, dims = stitcher
    shield = ShieldInferer(Brightest(), on_reject="raise")
    fine = image_of(dims, strange=False)
    torch.testing.assert_close(torch.as_tensor(inferer(fine, lambda window: shield(window, network))), network(fine))
    with pytest.raises(RejectedImageError, match="above the threshold"):
        inferer(image_of(dims, strange=True), lambda window: shield(window, network))


def test_a_rejected_image_without_meta_data_leaves_a_word_wherever_it_goes(caplog):
    """Others stitch as well: nobody can know them all."""
    shield = ShieldInferer(Brightest())
    with caplog.at_level(logging.WARNING, "monai_shield"):
        shield(image_of(2, strange=False), network)
        shield(MetaTensor(image_of(2, strange=True)), network)
        assert not caplog.records
        stitched = torch.zeros(1, 2, 16, 16)
        stitched[..., :8] += shield(image_of(2, strange=True)[..., :8], network).as_tensor()
    (record,) = caplog.records
    assert "its score is above the threshold" in record.getMessage()
