# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Scores as they are read: given the foreground, and over trainings."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from monai_shield.detectors import Calibration
from reproduction.dice_variants import StudyReadings, paper_calibration
from reproduction.image_set import ImageSet
from reproduction.study import DefenseStudy


def test_a_score_is_judged_against_slices_with_as_much_foreground(made_up: Any) -> None:
    study, who = made_up.study, ("spatial", 0)
    readings = StudyReadings(study)
    random = np.random.default_rng(1)
    attacked = ImageSet("A", "one", "raw")
    bodies = {ImageSet("val"): np.linspace(-3, -0.5, len(study.data.val)), attacked: random.uniform(-4, 0, 18)}
    readings.log_share = bodies.__getitem__  # type: ignore[method-assign]

    def usual(log_share: np.ndarray) -> np.ndarray:
        log_share = log_share.clip(-3, -0.5)  # no farther than what was seen
        return np.exp(2 + 0.5 * log_share - 0.3 * log_share**2 + 0.1 * log_share**3)

    made_up.put_scores(ImageSet("val"), who, usual(bodies[ImageSet("val")]))
    strange = random.uniform(0.5, 4, 18)
    scores = usual(bodies[attacked]) * strange
    scores[:2] = math.nan, math.inf
    made_up.put_scores(attacked, who, scores)
    judged = readings.scores(attacked, who, adjusted=True)
    assert judged[2:] == pytest.approx(np.log(strange[2:]))
    assert np.isnan(judged[0])
    assert judged[1] == math.inf


def test_the_share_of_foreground_is_that_of_the_image(tiny_study: Callable[..., DefenseStudy]) -> None:
    assert StudyReadings(tiny_study()).log_share(ImageSet("clean")) == pytest.approx(math.log(144 / 256))


def test_faint_noise_on_the_background_is_no_foreground(made_up: Any) -> None:
    readings, which = StudyReadings(made_up.study), ImageSet("A", "one", "exported")
    changed = made_up.study.images(which)
    assert float((changed > 0).float().mean()) == 1
    assert np.array_equal(readings.log_share(which), readings.log_share(ImageSet("clean")))


@pytest.mark.parametrize(("score", "words"), [(math.nan, "a clean score is not finite"), (-1.0, "negative scores")])
def test_what_cannot_be_adjusted_scores_says_so(made_up: Any, score: float, words: str) -> None:
    val, who = ImageSet("val"), ("spatial", 0)
    made_up.put_scores(val, who, np.r_[score, made_up.scores[val, who][1:]])
    with pytest.raises(ValueError, match=f"'spatial' in 'one, A, raw': {words}"):
        StudyReadings(made_up.study).scores(ImageSet("A", "one", "raw"), who, adjusted=True)


def test_trainings_are_drawn_as_subjects_are(made_up: Any) -> None:
    readings = StudyReadings(made_up.study, resamples=2000)
    values = np.array([1.0, 2.0, 6.0])[:, None] * np.ones(2001)
    drawn = readings.over_seeds(values)
    assert drawn[0] == pytest.approx(3)
    assert drawn[1:].mean() == pytest.approx(3, abs=0.1)
    assert drawn[1:].var() == pytest.approx(np.var([1, 2, 6]) / 3, rel=0.1)
    # what two of them share takes nothing from their difference
    assert np.ptp(readings.over_seeds(values + 1) - drawn) == pytest.approx(0)
    # one alone is as it is, and one without a value is left out
    assert np.array_equal(readings.over_seeds(values[:1]), values[0])
    values[2, 0] = math.nan
    assert readings.over_seeds(values)[0] == pytest.approx(1.5)
    assert np.isnan(readings.over_seeds(np.full((2, 3), math.nan))).all()


def test_the_paper_s_threshold_is_that_of_a_shield_and_is_there_for_a_detector_that_a_shield_refuses() -> None:
    scores = np.random.default_rng(0).integers(0, 9, 40).astype(float)
    found, fitted = paper_calibration(scores, 0.1), Calibration.fit(torch.from_numpy(scores), 0.1, "empirical")
    assert torch.equal(found.scores, fitted.scores)
    assert (found.threshold, found.t_fp, found.rule) == (fitted.threshold, fitted.t_fp, fitted.rule)
    assert paper_calibration(np.full(40, 0.5), 0.1).threshold == 0.5
