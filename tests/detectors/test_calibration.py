# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The threshold rule against a brute-force search, and what it promises."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from monai_shield.detectors import Calibration, threshold_of

scores_strategy = st.lists(st.integers(0, 12).map(float), min_size=19, max_size=80)  # few values: many ties
rates = st.sampled_from(["0.05", "0.1", "0.29", "0.5"])


@given(scores_strategy, rates, st.integers(-1, 13))
def test_conformal_rejects_exactly_where_the_p_value_says(scores: list[float], rate: str, new: int) -> None:
    assume(len(set(scores)) > 1)  # refused: see below
    calibration = Calibration.fit(torch.tensor(scores), float(rate))
    p = Fraction(1 + sum(s >= new for s in scores), len(scores) + 1)  # by definition, exactly
    assert bool(calibration.rejects(torch.tensor([float(new)]))[0]) == (p <= Fraction(rate))
    assert float(calibration.p_value(torch.tensor([float(new)]))[0]) == pytest.approx(float(p))


@given(scores_strategy, rates)
def test_empirical_is_the_lowest_threshold_that_keeps_the_rate(scores: list[float], rate: str) -> None:
    threshold = threshold_of(torch.tensor(scores), float(rate), "empirical")

    def keeps(candidate: float) -> bool:
        return Fraction(sum(s > candidate for s in scores), len(scores)) <= Fraction(rate)

    assert keeps(threshold)
    assert threshold == min(candidate for candidate in scores if keeps(candidate))


def test_conformal_keeps_its_promise_on_average() -> None:
    generator = torch.Generator().manual_seed(0)
    rejected = [
        Calibration.fit(torch.rand(39, generator=generator), 0.05).rejects(torch.rand(200, generator=generator)).float()
        for _ in range(400)
    ]
    # E[rate] = floor(0.05 * 40) / 40 = 0.05 exactly; its deviation over 400 calibrations is about 0.002
    assert torch.cat(rejected).mean() == pytest.approx(0.05, abs=0.006)


@pytest.mark.parametrize(
    ("n", "t_fp", "enough"), [(18, 0.05, False), (19, 0.05, True), (8, 0.1, False), (9, 0.1, True)]
)
def test_conformal_refuses_too_few(n: int, t_fp: float, enough: bool) -> None:
    if enough:
        assert threshold_of(torch.arange(float(n)), t_fp) == n - 1
    else:
        with pytest.raises(ValueError, match="at least"):
            threshold_of(torch.arange(float(n)), t_fp)


@pytest.mark.parametrize(
    ("scores", "t_fp", "rule"),
    [
        ([], 0.05, "conformal"),
        ([0.0] * 20 + [float("nan")], 0.05, "conformal"),
        ([0.0] * 20, 0.0, "conformal"),
        ([0.0] * 20, 1.0, "empirical"),
        ([0.0] * 20, 0.05, "guess"),
    ],
)
def test_bad_calibrations_are_refused(scores: list[float], t_fp: float, rule: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        threshold_of(torch.tensor(scores), t_fp, rule)  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", ["conformal", "empirical"])
@pytest.mark.parametrize("score", [0.0, -3.0, 0.1])
@pytest.mark.parametrize("threshold", [None, -1.0])
def test_constant_scores_are_refused(rule: str, score: float, threshold: float | None) -> None:
    """A detector that cannot tell clean images apart would never reject one."""
    clean = torch.full((40,), score)
    settings = {"rule": rule, "threshold": threshold}
    with pytest.raises(ValueError, match="every one of 40 clean images the same score") as caught:
        Calibration.fit(clean, **settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    by_rounding = clean * (1 + torch.finfo(torch.float32).eps * (torch.arange(40) % 3))
    with pytest.raises(ValueError, match="the same score"):
        Calibration.fit(by_rounding, **settings)  # type: ignore[arg-type]
    clean[7] += 1e-4  # one that differs is enough
    assert len(Calibration.fit(clean, **settings).scores) == 40  # type: ignore[arg-type]


def test_a_single_score_is_no_constant() -> None:
    assert Calibration.fit(torch.tensor([2.0]), 0.5, "empirical").threshold == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused_whatever_the_threshold(value: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        Calibration.fit(torch.tensor([0.0, 1.0, value] * 20), threshold=3.0)


def test_exact_arithmetic_at_a_rate_that_floats_get_wrong() -> None:
    # 0.29 * 100 = 28.999999999999996 in floating point: its floor is one too small
    assert threshold_of(torch.arange(99.0), 0.29) == 99 - 29


def test_what_is_not_finite_is_rejected() -> None:
    calibration = Calibration.fit(torch.arange(20.0))
    assert calibration.rejects(torch.tensor([torch.nan, torch.inf, 0.0])).tolist() == [True, True, False]


def test_volume_limit_is_the_largest_clean_share() -> None:
    scores = torch.cat([torch.arange(20.0), torch.arange(20.0) + 0.5])
    volumes = ["a"] * 20 + ["b"] * 20
    calibration = Calibration.fit(scores, 0.1, volumes=volumes)
    shares = [(scores[i : i + 20] > calibration.threshold).double().mean().item() for i in (0, 20)]
    assert calibration.volume_limit == max(shares)
    assert calibration.num_volumes == 2
    assert Calibration.fit(scores, 0.1).volume_limit is None
