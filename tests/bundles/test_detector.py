# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The detector of a bundle, from the weights it ships with or from a training of its parts."""

import pytest
import torch

from monai_shield.bundle import load_detector, save_weights
from monai_shield.detectors import CombinedDetector, HighFrequencyEnergy, RadialLogPower, Views, ZeroShare


def combination():
    return CombinedDetector({"radial": RadialLogPower(2), "energy": HighFrequencyEnergy()}, degree=0)


@pytest.fixture
def trained(tmp_path):
    """A combination that is fitted and calibrated, its weights, and those of its one part that learns."""
    detector, clean = combination(), [Views(torch.rand(40, 1, 16, 16))]
    detector.fit(clean).calibrate(clean)
    whole, part = tmp_path / "whole" / "detector.pt", tmp_path / "part" / "radial.pt"
    save_weights(detector, whole)
    save_weights(detector.parts["radial"], part)
    return detector, whole, part


def test_all_of_it_is_fitted_and_its_calibration_is_left_out(trained):
    detector, whole, _ = trained
    loaded = load_detector(combination(), whole, {"radial": None})
    assert loaded.fitted
    assert loaded.calibration is None
    assert torch.equal(loaded.weights, detector.weights)


def test_of_a_part_that_was_trained_the_combination_is_still_to_be_fitted(trained):
    detector, whole, part = trained
    loaded = load_detector(combination(), whole, {"radial": part})
    assert loaded.parts["radial"].fitted
    assert not loaded.fitted
    assert torch.equal(loaded.parts["radial"].mean, detector.parts["radial"].mean)


@pytest.mark.parametrize("weights", [None, ""])
def test_without_weights_it_is_as_it_was_built(weights):
    assert not load_detector(combination(), weights).fitted
    assert load_detector(ZeroShare(), weights).fitted


def test_an_unknown_part_is_named(trained):
    with pytest.raises(ValueError, match="a CombinedDetector has no part spectrum"):
        load_detector(combination(), None, {"spectrum": trained[2]})
    with pytest.raises(ValueError, match="a ZeroShare has no part radial"):
        load_detector(ZeroShare(), None, {"radial": trained[2]})
