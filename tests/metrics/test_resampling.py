# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Resampling subjects, against doing it image by image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from monai_shield.metrics import SubjectResamples, detection_auc

PERSONS = ["a", "b", "a", "c", "b", "d"]  # of six scans


def times_drawn(draws: SubjectResamples, row: int, scans: np.ndarray) -> np.ndarray:
    """How often each image is in a resample, by the names of the subjects."""
    drawn = dict(zip(draws.names, draws.weights[row].astype(int)))
    return np.array([drawn[PERSONS[scan]] for scan in scans])


def images(seed: int, number: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, and the scan each is of; every scan has one."""
    generator = np.random.default_rng(seed)
    scans = np.r_[np.arange(6), generator.integers(0, 6, number - 6)]
    return generator.normal(seed, 2, number).round(), scans


def test_first_row_is_the_sample_and_every_other_draws_as_many_subjects() -> None:
    draws = SubjectResamples(PERSONS, 200)
    assert draws.weights.shape == (201, 4)
    assert np.array_equal(draws.weights[0], np.ones(4))
    assert np.array_equal(draws.weights.sum(axis=1), np.full(201, 4.0))
    assert (draws.weights[1:] == 1).all(axis=1).mean() < 0.3  # 4! / 4^4 = 0.09 of them draw everybody once


def test_draws_are_those_of_the_seed() -> None:
    assert np.array_equal(SubjectResamples(PERSONS, 9, 1).weights, SubjectResamples(PERSONS, 9, 1).weights)
    assert not np.array_equal(SubjectResamples(PERSONS, 9, 1).weights, SubjectResamples(PERSONS, 9, 2).weights)


def test_auc_is_that_of_the_pairs_drawn() -> None:
    draws = SubjectResamples(PERSONS, 60)
    (clean, clean_scan), (attacked, attacked_scan) = images(0), images(1, 25)
    found = draws.auc(clean, attacked, clean_scan, attacked_scan)
    assert found.shape == (61,)
    assert found[0] == pytest.approx(detection_auc(clean, attacked))
    higher = (attacked[None] > clean[:, None]) + 0.5 * (attacked[None] == clean[:, None])
    same = np.array(PERSONS)[clean_scan][:, None] == np.array(PERSONS)[attacked_scan][None]
    for row in range(61):
        one, other = times_drawn(draws, row, clean_scan), times_drawn(draws, row, attacked_scan)
        weight = np.where(same, one[:, None], np.outer(one, other))
        assert found[row] == pytest.approx(100 * np.average(higher, weights=weight))


def test_auc_where_everybody_is_drawn_once_is_that_of_scikit_learn() -> None:
    draws = SubjectResamples(PERSONS, 300)
    (clean, scans), (attacked, _) = images(0), images(1)
    found = draws.auc(clean, attacked, scans, scans)[(draws.weights == 1).all(axis=1)]
    truth = np.r_[np.zeros(len(clean)), np.ones(len(attacked))]
    assert len(found) > 5
    assert found == pytest.approx(np.full(len(found), 100 * roc_auc_score(truth, np.r_[clean, attacked])))


def test_interval_of_an_auc_holds_what_it_is_to_hold() -> None:
    # subjects differ more than an attack does: pairs within a subject are the easy ones
    generator, scans = np.random.default_rng(0), np.repeat(np.arange(9), 8)
    draws, inside, bias = SubjectResamples([str(scan) for scan in range(9)], 200), [], []
    truth = 100 * _normal_cdf(1 / math.sqrt(2 * (1 + 2**2)))  # of two images of two subjects
    for _ in range(300):
        subject = generator.normal(0, 2, 9)[scans]
        clean, attacked = (subject + generator.normal(shift, 1, len(scans)) for shift in (0, 1))
        found = draws.auc(clean, attacked, scans, scans)
        interval = draws.interval(found)
        inside.append(interval["low"] <= truth <= interval["high"])
        bias.append(found[1:].mean() - found[0])
    assert np.mean(inside) > 0.88  # 0.95 with many subjects
    assert abs(np.mean(bias)) < 0.5  # 1.7 with pairs within a subject weighed by their square


def _normal_cdf(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def test_auc_takes_a_nan_for_the_highest_score() -> None:
    draws = SubjectResamples(PERSONS, 20)
    (clean, scans), (attacked, _) = images(0), images(1)
    attacked[3] = 1e6
    unknown = attacked.copy()
    unknown[3] = np.nan
    assert np.array_equal(draws.auc(clean, unknown, scans, scans), draws.auc(clean, attacked, scans, scans))


def test_mean_is_that_of_the_scans_drawn() -> None:
    draws = SubjectResamples(PERSONS, 60)
    values = np.array([0.3, 0.9, np.nan, 0.2, 0.7, np.nan])  # nothing is known of "d"
    found = draws.mean(values)
    assert found[0] == pytest.approx((0.3 + 0.9 + 0.2 + 0.7) / 4)
    empty = 0
    for row in range(61):
        drawn = np.repeat(values, times_drawn(draws, row, np.arange(6)))
        known = drawn[~np.isnan(drawn)]
        if len(known):
            assert found[row] == pytest.approx(known.mean())
        else:
            assert np.isnan(found[row])
            empty += 1
    assert empty < 60


def test_two_scans_of_one_subject_stay_together() -> None:
    # what one scan is above, the other is below: whoever is drawn, the mean is the same
    draws = SubjectResamples(["a", "a", "b", "b"], 100)
    assert np.allclose(draws.mean(np.array([0.1, 0.9, 0.4, 0.6])), 0.5)
    # as four subjects they come apart
    assert np.ptp(SubjectResamples(["a", "b", "c", "d"], 100).mean(np.array([0.1, 0.9, 0.4, 0.6]))) > 0.1


def test_one_subject_leaves_no_interval() -> None:
    draws = SubjectResamples(["a", "a"], 50)
    interval = draws.interval(draws.mean(np.array([0.2, 0.6])))
    assert interval == {"value": pytest.approx(0.4), "low": pytest.approx(0.4), "high": pytest.approx(0.4)}


def test_interval_is_that_of_the_percentiles() -> None:
    draws = SubjectResamples(PERSONS, 100)
    statistic = np.r_[7.0, np.arange(100.0)]
    assert draws.interval(statistic) == {"value": 7.0, "low": pytest.approx(2.475), "high": pytest.approx(96.525)}
    holed = statistic.copy()
    holed[50:] = np.nan  # 0 to 48 are left
    assert draws.interval(holed)["high"] == pytest.approx(0.975 * 48)


@pytest.mark.parametrize("statistic", [np.r_[np.nan, np.ones(9)], np.r_[1.0, np.full(9, np.nan)]])
def test_nothing_is_no_interval(statistic: np.ndarray) -> None:
    assert all(math.isnan(value) for value in SubjectResamples(PERSONS, 9).interval(statistic).values())


@pytest.mark.parametrize(("subjects", "resamples"), [([], 10), (["a"], 0)])
def test_nobody_and_no_resample_are_refused(subjects: list[str], resamples: int) -> None:
    with pytest.raises(ValueError, match="needs a subject and a resample"):
        SubjectResamples(subjects, resamples)
