# Copyright (c) The monai-shield authors.
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Scores as they are read: given the body, and over trainings."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from monai_shield.detectors import Calibration
from monai_shield.studies import DefenseStudy
from monai_shield.studies.image_set import ImageSet
from monai_shield.studies.readings import StudyReadings, paper_calibration


def test_a_score_is_judged_against_slices_with_as_much_body(made_up: Any) -> None:
    study, who = made_up.study, ("spatial", 0)
    readings = StudyReadings(study)
    random = np.random.default_rng(1)
    attacked = ImageSet("A", "one", "raw")
    bodies = {ImageSet("val"): np.linspace(-3, -0.5, len(study.data.val)), attacked: random.uniform(-4, 0, 18)}
    readings.log_body = bodies.__getitem__  # type: ignore[method-assign]

    def usual(log_body: np.ndarray) -> np.ndarray:
        log_body = log_body.clip(-3, -0.5)  # no farther than what was seen
        return np.exp(2 + 0.5 * log_body - 0.3 * log_body**2 + 0.1 * log_body**3)

    made_up.put_scores(ImageSet("val"), who, usual(bodies[ImageSet("val")]))
    strange = random.uniform(0.5, 4, 18)
    scores = usual(bodies[attacked]) * strange
    scores[:2] = math.nan, math.inf
    made_up.put_scores(attacked, who, scores)
    judged = readings.scores(attacked, who, given_body=True)
    assert judged[2:] == pytest.approx(np.log(strange[2:]))
    assert np.isnan(judged[0])
    assert judged[1] == math.inf


def test_the_share_of_body_is_that_of_the_image(tiny_study: Callable[..., DefenseStudy]) -> None:
    assert StudyReadings(tiny_study()).log_body(ImageSet("clean")) == pytest.approx(math.log(144 / 256))


def test_faint_noise_on_the_background_is_no_body(made_up: Any) -> None:
    readings, which = StudyReadings(made_up.study), ImageSet("A", "one", "exported")
    changed = made_up.study.images(which)
    assert float((changed > 0).float().mean()) == 1
    assert np.array_equal(readings.log_body(which), readings.log_body(ImageSet("clean")))


@pytest.mark.parametrize(("score", "words"), [(math.nan, "a clean score is not finite"), (-1.0, "negative scores")])
def test_what_cannot_be_judged_by_body_says_so(made_up: Any, score: float, words: str) -> None:
    val, who = ImageSet("val"), ("spatial", 0)
    made_up.put_scores(val, who, np.r_[score, made_up.scores[val, who][1:]])
    with pytest.raises(ValueError, match=f"'spatial' in 'one, A, raw': {words}"):
        StudyReadings(made_up.study).scores(ImageSet("A", "one", "raw"), who, given_body=True)


def test_trainings_are_drawn_as_people_are(made_up: Any) -> None:
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
