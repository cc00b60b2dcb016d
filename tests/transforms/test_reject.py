# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import asdict

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import AsDiscrete

from monai_shield.inferers import ImageDecision, VolumeDecision
from monai_shield.transforms import ApplyShieldd, empty_rejected, shield_decision

#: From the logits of a network with a softmax or with a sigmoid head to its label.
HEADS = {
    "argmax": AsDiscrete(argmax=True),
    "argmax, one-hot": AsDiscrete(argmax=True, to_onehot=4),
    "sigmoid": AsDiscrete(threshold=0.0),
}


def decision(rejected=False, slices=None, axis=0):
    whole = {"score": 0.5, "threshold": 0.4, "p_value": None, "rejected": rejected, "reason": "why"}
    if slices is None:
        return ImageDecision(**whole)
    every = {"slice_scores": [0.0] * len(slices), "slice_p_values": [1.0] * len(slices), "slice_rejected": slices}
    return VolumeDecision(**whole, **every, scored=len(slices), slice_axis=axis, slice_threshold=0.5)


def label(head, *shape):
    return HEADS[head](torch.randn(4, *shape))


@pytest.mark.parametrize("shape", [(6, 7), (5, 6, 7)])
@pytest.mark.parametrize("head", HEADS)
def test_a_rejected_image_has_no_label_and_an_accepted_one_keeps_its_own(head, shape):
    found = label(head, *shape)
    assert found.any()
    emptied = empty_rejected(found, decision(rejected=True))
    assert emptied.shape == found.shape
    assert emptied.dtype == found.dtype
    assert not emptied.any()
    assert torch.equal(empty_rejected(found, decision()), found)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("head", HEADS)
def test_of_an_accepted_volume_only_the_rejected_slices_are_emptied(head, axis):
    found = label(head, 5, 6, 7)
    rejected = [index % 3 == 1 for index in range(found.shape[axis + 1])]
    kept = found.clone()
    emptied = empty_rejected(found, decision(slices=rejected, axis=axis))
    for index, gone in enumerate(rejected):
        slice_ = emptied.select(axis + 1, index)
        assert not slice_.any() if gone else torch.equal(slice_, found.select(axis + 1, index))
    assert torch.equal(found, kept)
    assert not empty_rejected(found, decision(rejected=True, slices=rejected, axis=axis)).any()


def test_decisions_that_are_not_this_label_s_are_refused():
    with pytest.raises(ValueError, match="4 decisions for 5 slices"):
        empty_rejected(torch.ones(1, 5, 6, 7), decision(slices=[True] * 4))


def prediction(made):
    return MetaTensor(torch.ones(1, 4, 4), affine=2 * torch.eye(3), meta={"shield": made})


@pytest.mark.parametrize("rejected", [True, False])
@pytest.mark.parametrize("on_reject", ["empty", "keep"])
def test_the_decision_goes_on_in_plain_json_beside_what_is_there(on_reject, rejected):
    made = decision(rejected, [False] * 4)
    data = {"pred": prediction(made), "result": {"other": 1}, "image": "scan.nii"}
    done = ApplyShieldd("pred", on_reject)(data)
    assert done["result"] == {"other": 1, "shield": asdict(made)}
    assert json.loads(json.dumps(done["result"], allow_nan=False)) == done["result"]
    assert bool(done["pred"].any()) == (on_reject == "keep" or not rejected)
    assert isinstance(done["pred"], MetaTensor)
    torch.testing.assert_close(done["pred"].affine, 2 * torch.eye(3, dtype=torch.float64), check_dtype=False)
    assert done["image"] == "scan.nii"
    assert data["result"] == {"other": 1}
    assert data["pred"].all()
    again = ApplyShieldd("pred", on_reject)(data)
    assert again["result"] == done["result"]


def test_a_batch_of_one_is_as_good_as_its_only_image():
    assert shield_decision(prediction([decision(True)])) == decision(True)


def test_without_a_decision_of_its_own_no_label_goes_out():
    with pytest.raises(KeyError, match="no decision of a shield"):
        ApplyShieldd("pred")({"pred": MetaTensor(torch.ones(1, 4, 4))})
    with pytest.raises(KeyError, match="no decision of a shield"):
        ApplyShieldd("pred")({"pred": torch.ones(1, 4, 4)})
    with pytest.raises(ValueError, match="decisions of 2 images"):
        ApplyShieldd("pred")({"pred": prediction([decision()] * 2)})


def test_keys():
    assert ApplyShieldd("pred", allow_missing_keys=True)({"image": 1}) == {"image": 1}
    with pytest.raises(KeyError):
        ApplyShieldd("pred")({"image": 1})
    with pytest.raises(ValueError, match="on_reject"):
        ApplyShieldd("pred", on_reject="ignore")
