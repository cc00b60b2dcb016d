# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a shield consists of, told so that another one is seen to be another."""

import copy
import json
from enum import Enum
from functools import partial

import numpy as np
import pytest
import torch
from monai.networks.layers import MedianFilter
from monai.networks.nets import BasicUNet
from monai.transforms import Compose, LoadImaged, Orientationd, ScaleIntensityd
from torch import nn

from monai_shield.detectors import (
    CombinedDetector,
    HighFrequencyEnergy,
    ZeroShare,
    differences,
    settings_of,
    shield_record,
    weights_sum,
)
from monai_shield.networks import FilteredNetwork
from monai_shield.transforms import CheckNiftiFiled, CheckVolumed


class Color(Enum):
    RED = 1


def loading(*further):
    return Compose([LoadImaged("image"), *further])


def unet(act="relu"):
    return BasicUNet(2, 1, 1, features=(4, 4, 4, 4, 4, 4), act=act)


def test_values_of_all_kinds():
    thing = {"a": [1, 2.5, None], "b": {"c": "d"}, "e": Color.RED, "f": np.float32(2), "g": torch.tensor([1, 2])}
    thing |= {"h": torch.float32, "i": torch.relu_, "j": nn.ReLU, "k": partial(max, 3, key=len), "l": {2, 1}}
    found = dict(settings_of(thing))
    assert found["a"] == "3 entries"
    assert [found[f"a.{n}"] for n in range(3)] == ["1", "2.5", "None"]
    assert found["b.c"] == "'d'"
    assert found["e"] == "1"
    assert found["f"] == "2.0"
    assert found["g"] == "[1, 2]"
    assert found["h"] == "torch.float32"
    assert found["j"] == "torch.nn.modules.activation.ReLU"
    assert found["k.args.0"] == "3"
    assert (found["l.0"], found["l.1"]) == ("1", "2")


def test_a_large_array_is_told_by_its_sum():
    one, other = np.zeros((10, 10)), np.zeros((10, 10))
    other[3, 3] = 1e-9
    assert dict(settings_of(one)) == dict(settings_of(one.copy()))
    assert dict(settings_of(one)) != dict(settings_of(other))


def test_what_holds_itself_ends():
    thing: dict = {"a": 1}
    thing["self"] = thing
    assert dict(settings_of(thing)) == {"": "a mapping", "a": "1"}


def test_a_record_is_plain_and_the_same_wherever_it_is_made():
    detector = CombinedDetector({"energy": HighFrequencyEnergy(), "zeros": ZeroShare()})
    reformer = FilteredNetwork(MedianFilter(1, 2), unet())
    preprocessing = Compose([LoadImaged("image"), ScaleIntensityd("image")])
    record = shield_record(detector, reformer, preprocessing, unet(), slice_axis=1)
    assert json.loads(json.dumps(record)) == record
    copied = copy.deepcopy((detector, reformer, preprocessing))
    again = shield_record(*copied, slice_axis=1)
    assert differences(record, again) == []
    copied[1].to(memory_format=torch.channels_last).eval()
    assert differences(record, shield_record(*copied, slice_axis=1)) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda d, r, p: (HighFrequencyEnergy(0.3), r, p), "detector.radius is 0.3, not 0.37"),
        (lambda d, r, p: (ZeroShare(), r, p), "ZeroShare, not "),
        (lambda d, r, p: (d, None, p), "reformer is None"),
        (lambda d, r, p: (d, FilteredNetwork(r.filter, unet("tanh")), p), "reformer.network."),
        (lambda d, r, p: (d, FilteredNetwork(MedianFilter(2, 2), r.network), p), "reformer.filter."),
        (
            lambda d, r, p: (d, r, loading(*p.transforms[1:], ScaleIntensityd("image"))),
            "preprocessing is 3 entries, not 2 entries",
        ),
        (
            lambda d, r, p: (d, r, loading(Orientationd("image", "LAS", labels=None))),
            "Orientationd",
        ),
        (
            lambda d, r, p: (d, r, loading(ScaleIntensityd("image", maxv=2.0))),
            "maxv is 2.0, not 1.0",
        ),
    ],
)
def test_whatever_is_changed_is_named(change, line):
    parts = HighFrequencyEnergy(), FilteredNetwork(MedianFilter(1, 2), unet()), loading(ScaleIntensityd("image"))
    found = differences(shield_record(*parts), shield_record(*change(*parts)))
    assert any(line in each for each in found), found


def test_checks_do_not_count_and_another_version_may_know_more():
    plain = Compose([LoadImaged("image")])
    checked = Compose([CheckNiftiFiled("image", max_extent=3), LoadImaged("image"), CheckVolumed("image")])
    record = shield_record(ZeroShare(), None, plain)
    assert differences(record, shield_record(ZeroShare(), None, checked)) == []
    newer = copy.deepcopy(record)
    newer["detector"]["invented_later"] = "1"
    assert differences(record, newer) == differences(newer, record) == []


def test_a_part_that_nothing_is_known_of_is_a_difference():
    record = shield_record(ZeroShare(), None)
    assert differences(record, shield_record(ZeroShare(), None, target=unet())) == [
        "nothing is known of the target it was made with"
    ]


def test_weights_are_told_apart_by_value_name_shape_and_type_and_not_by_their_wrapper():
    network = unet()
    assert weights_sum(network) == weights_sum(copy.deepcopy(network)) == weights_sum(nn.DataParallel(network))
    assert weights_sum(network) == weights_sum(network.to(memory_format=torch.channels_last))
    changed = copy.deepcopy(network)
    with torch.no_grad():
        next(changed.parameters()).view(-1)[0] += 1e-7
    sums = {weights_sum(each) for each in (network, changed, copy.deepcopy(network).double(), nn.Sequential(network))}
    assert len(sums) == 4


def test_a_calibration_is_no_weight():
    detector = ZeroShare()
    before = weights_sum(detector)
    detector.calibration = object()  # type: ignore[assignment]
    assert weights_sum(nn.Sequential(ZeroShare())) == weights_sum(nn.Sequential(ZeroShare()))
    detector.calibration = None
    assert weights_sum(detector) == before
