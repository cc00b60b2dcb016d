# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor

from monai_shield.data import COHORT_TISSUES, MICCAI2012_STRUCTURES
from monai_shield.transforms import LogitsToLabeld, MergeLabels, MergeLabelsd

label_maps = st.lists(st.integers(0, 300), unique=True, max_size=20).flatmap(
    lambda values: st.lists(st.integers(0, 4), min_size=len(values), max_size=len(values)).map(
        lambda groups: {f"s{g}": [v for v, h in zip(values, groups) if h == g] for g in range(5)}
    )
)


@given(label_map=label_maps, values=st.lists(st.integers(-5, 400), min_size=1, max_size=50))
def test_each_value_becomes_its_structure_and_every_other_background(label_map, values):
    expected = [next((i for i, group in enumerate(label_map.values(), 1) if v in group), 0) for v in values]
    for label in (torch.tensor(values), np.array(values, dtype=np.int32), torch.tensor(values, dtype=torch.float32)):
        assert MergeLabels(label_map)(label).tolist() == expected


@pytest.mark.parametrize("label_map", [COHORT_TISSUES, MICCAI2012_STRUCTURES])
def test_the_label_maps_here_are_numbered_in_their_order(label_map):
    merge = MergeLabels(label_map)
    for index, group in enumerate(label_map.values(), start=1):
        assert merge(torch.tensor(group)).tolist() == [index] * len(group)


def test_a_label_a_hair_off_its_value_is_not_the_next_lower_one():
    """A file's slope times a whole number need not be whole: 0.1 (float32) times 30."""
    merge = MergeLabels({"a": [2], "b": [3]})
    assert merge(torch.tensor([2.9999998, 3.0000002, 2.0, 1.9999999, torch.nan])).tolist() == [2, 2, 1, 1, 0]


def test_meta_data_are_kept():
    label = MetaTensor(torch.tensor([[[0, 4], [11, 35]]]), affine=2 * torch.eye(4), meta={"name": "x"})
    label.push_applied_operation({"class": "something"})
    merged = MergeLabelsd("label", {"a": [4, 11]})({"label": label})["label"]
    assert isinstance(merged, MetaTensor)
    assert merged.dtype == torch.uint8
    assert merged.shape == label.shape
    assert merged.meta["name"] == "x"
    torch.testing.assert_close(merged.affine, label.affine)
    assert merged.applied_operations == label.applied_operations
    assert torch.equal(label.as_tensor(), torch.tensor([[[0, 4], [11, 35]]]))


@pytest.mark.parametrize(
    ("label_map", "reason"),
    [
        ({"a": [1, 2], "b": [2]}, "belongs to two structures"),
        ({"a": [-1]}, "must not be negative"),
        ({str(value): [value] for value in range(256)}, "255 structures at most"),
    ],
)
def test_impossible_label_maps(label_map, reason):
    with pytest.raises(ValueError, match=reason):
        MergeLabels(label_map)
    MergeLabels({str(value): [value] for value in range(255)})


def test_keys():
    merge = MergeLabelsd(["label", "other"], {"a": [1]}, allow_missing_keys=True)
    assert merge({"label": torch.tensor([1, 2])})["label"].tolist() == [1, 0]
    with pytest.raises(KeyError):
        MergeLabelsd("label", {"a": [1]})({})


def test_a_softmax_gives_its_largest_class_and_sigmoids_their_channels():
    logits = torch.tensor([[-1.0, 0.5], [2.0, 0.2], [1.0, -3.0]])[..., None]  # three channels, two pixels
    assert LogitsToLabeld("pred", "softmax")({"pred": logits})["pred"].tolist() == [[[1], [0]]]
    assert LogitsToLabeld("pred", "sigmoid")({"pred": logits})["pred"][..., 0].tolist() == [[0, 1], [1, 1], [1, 0]]
    with pytest.raises(ValueError, match="unknown head 'argmax': choose 'softmax' or 'sigmoid'"):
        LogitsToLabeld("pred", "argmax")
