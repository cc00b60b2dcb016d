# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Scores that are adjusted for foreground share, means over trainings, and the paper's threshold."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from monai_shield.detectors import Calibration
from reproduction.calibration import paper_calibration
from reproduction.image_set import ImageSet
from reproduction.study import DefenseStudy
from reproduction.study_values import StudyValues


def test_a_score_is_judged_against_slices_with_as_much_foreground(made_up: Any) -> None:
    study, who = made_up.study, ("spatial", 0)
    values = StudyValues(study)
    random = np.random.default_rng(1)
    attacked = ImageSet("A", "one", "raw")
    shares = {ImageSet("val"): np.linspace(-3, -0.5, len(study.data.val)), attacked: random.uniform(-4, 0, 18)}
    values.log_share = shares.__getitem__  # type: ignore[method-assign]

    def usual(log_share: np.ndarray) -> np.ndarray:
        log_share = log_share.clip(-3, -0.5)  # no farther than what was seen
        return np.exp(2 + 0.5 * log_share - 0.3 * log_share**2 + 0.1 * log_share**3)

    made_up.put_scores(ImageSet("val"), who, usual(shares[ImageSet("val")]))
    strange = random.uniform(0.5, 4, 18)
    scores = usual(shares[attacked]) * strange
    scores[:2] = math.nan, math.inf
    made_up.put_scores(attacked, who, scores)
    judged = values.scores(attacked, who, adjusted=True)
    assert judged[2:] == pytest.approx(np.log(strange[2:]))
    assert np.isnan(judged[0])
    assert judged[1] == math.inf


def test_the_share_of_foreground_is_that_of_the_image(tiny_study: Callable[..., DefenseStudy]) -> None:
    assert StudyValues(tiny_study()).log_share(ImageSet("clean")) == pytest.approx(math.log(144 / 256))


def test_faint_noise_on_the_background_is_no_foreground(made_up: Any) -> None:
    values, which = StudyValues(made_up.study), ImageSet("A", "one", "exported")
    changed = made_up.study.images.images(which)
    assert float((changed > 0).float().mean()) == 1
    assert np.array_equal(values.log_share(which), values.log_share(ImageSet("clean")))


@pytest.mark.parametrize(("score", "words"), [(math.nan, "a clean score is not finite"), (-1.0, "negative scores")])
def test_scores_that_cannot_be_adjusted_are_refused(made_up: Any, score: float, words: str) -> None:
    val, who = ImageSet("val"), ("spatial", 0)
    made_up.put_scores(val, who, np.r_[score, made_up.scores[val, who][1:]])
    with pytest.raises(ValueError, match=f"'spatial' in 'one, A, raw': {words}"):
        StudyValues(made_up.study).scores(ImageSet("A", "one", "raw"), who, adjusted=True)


def test_trainings_are_drawn_as_subjects_are(made_up: Any) -> None:
    values = StudyValues(made_up.study, resamples=2000)
    each = np.array([1.0, 2.0, 6.0])[:, None] * np.ones(2001)
    drawn = values.over_seeds(each)
    assert drawn[0] == pytest.approx(3)
    assert drawn[1:].mean() == pytest.approx(3, abs=0.1)
    assert drawn[1:].var() == pytest.approx(np.var([1, 2, 6]) / 3, rel=0.1)
    # what two of them share takes nothing from their difference
    assert np.ptp(values.over_seeds(each + 1) - drawn) == pytest.approx(0)
    # one alone is as it is, and one without a value is left out
    assert np.array_equal(values.over_seeds(each[:1]), each[0])
    each[2, 0] = math.nan
    assert values.over_seeds(each)[0] == pytest.approx(1.5)
    assert np.isnan(values.over_seeds(np.full((2, 3), math.nan))).all()


def test_the_paper_s_threshold_is_that_of_a_shield_and_is_there_for_a_detector_that_a_shield_refuses() -> None:
    scores = np.random.default_rng(0).integers(0, 9, 40).astype(float)
    found, fitted = paper_calibration(scores, 0.1), Calibration.fit(torch.from_numpy(scores), 0.1, "empirical")
    assert torch.equal(found.scores, fitted.scores)
    assert (found.threshold, found.t_fp, found.rule) == (fitted.threshold, fitted.t_fp, fitted.rule)
    assert paper_calibration(np.full(40, 0.5), 0.1).threshold == 0.5
