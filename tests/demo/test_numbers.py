# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The numbers of a demo: Dice, what was rejected, the calibration."""

import json

import numpy as np
import pytest
import torch

from monai_shield.demo import numbers
from monai_shield.detectors import Calibration

STRUCTURES = ("left part", "right part")


def test_dice_of_the_same_answer_is_one_and_of_none_is_zero():
    reference = np.zeros((4, 4, 4), dtype=np.uint8)
    reference[:2], reference[2:] = 1, 2
    slab = np.zeros_like(reference)
    slab[:, 1:3] = 1
    emptied = np.where(slab > 0, 0, reference)
    found = numbers.dice_records(reference, {"same": reference, "emptied": emptied}, slab, STRUCTURES)
    assert found["slab"] == {"same": 1.0, "emptied": 0.0}
    assert found["scan"]["same"] == 1.0
    # half of each structure is left: 2 * 16 / (16 + 32)
    assert found["scan"]["emptied"] == pytest.approx(2 / 3)


def test_a_structure_that_is_nowhere_is_left_out_and_a_hallucinated_one_counts_zero():
    reference = np.ones((2, 2, 2), dtype=np.uint8)
    slab = np.ones_like(reference)
    wrong = reference.copy()
    wrong[0] = 2
    found = numbers.dice_records(reference, {"same": reference, "wrong": wrong}, slab, STRUCTURES)
    assert found["slab"]["same"] == 1.0
    assert found["structures"]["right part"] == {"same": None, "wrong": 0.0}
    assert found["slab"]["wrong"] == pytest.approx((2 * 4 / (4 + 8) + 0) / 2)


def decision(scores, rejected, volume_rejected=False):
    return {
        "rejected": volume_rejected,
        "score": 0.5,
        "threshold": 0.1,
        "p_value": None,
        "reason": "",
        "scored": sum(score is not None for score in scores),
        "slice_scores": scores,
        "slice_p_values": [None if score is None else 0.25 for score in scores],
        "slice_rejected": rejected,
    }


def test_a_scan_record_counts_the_slices_of_the_slab():
    record = numbers.scan_record(
        decision([None, 1.0, 5.0, 5.0, None], [False, False, True, True, False]),
        [-2.0, -1.0, 0.0, 1.0, 2.0],
        (-1.5, 0.5),
    )
    assert [each["slice"] for each in record["slices"]] == [1, 2, 3]
    assert (record["slices_rejected"], record["slices_scored"]) == (2, 3)
    assert (record["slab_slices_rejected"], record["slab_slices_scored"]) == (1, 2)
    assert record["slab_median_p_value"] == 0.25


def test_scores_that_do_not_belong_to_the_slices_are_refused():
    with pytest.raises(ValueError, match="2 scores for 3 slices"):
        numbers.scan_record(decision([1.0, 1.0], [False, False]), [0.0, 1.0, 2.0], (0, 1))


def test_the_calibration_is_read_from_the_weights(tmp_path):
    calibration = Calibration.fit(torch.arange(40.0), volumes=["a", "b"] * 20, source="here")
    torch.save({"_extra_state": calibration.state()}, tmp_path / "detector.pt")
    record = numbers.calibration_record(tmp_path / "detector.pt")
    assert record["threshold"] == calibration.threshold == 38.0
    assert (record["slices"], record["subjects"]) == (40, 2)
    assert record["subjects_needed_for_a_promise_per_subject"] == 19
    json.dumps(record, allow_nan=False)
