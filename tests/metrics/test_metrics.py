# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Dice by counts, AUC, residual harm, intervals over subjects."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics import DiceMetric
from monai.networks import one_hot

from monai_shield.metrics import (
    detection_auc,
    dice_of_counts,
    overlap_counts,
    pair_order,
    residual_harm,
    subject_bootstrap,
)


@pytest.mark.parametrize("size", [(9, 7), (5, 6, 7)], ids=["2D", "3D"])
def test_counts_agree_with_monai(size: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, label = (torch.randint(0, 5, (3, 1, *size), generator=generator) for _ in range(2))
    ours = dice_of_counts(overlap_counts(prediction, label, 5))
    monais = DiceMetric(include_background=False, reduction="none")(one_hot(prediction, 5), one_hot(label, 5))
    torch.testing.assert_close(ours.float(), monais.float())


def test_counts_of_slices_add_up_to_the_volume() -> None:
    generator = torch.Generator().manual_seed(1)
    prediction, label = (torch.randint(0, 4, (6, 1, 8, 8), generator=generator) for _ in range(2))
    stacked = overlap_counts(prediction.movedim(0, 2)[None, 0], label.movedim(0, 2)[None, 0], 4)
    assert torch.equal(overlap_counts(prediction, label, 4).sum(0), stacked[0])


def test_hallucinated_costs_everything_and_absent_in_both_nothing() -> None:
    prediction, label = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    prediction[..., 0, 0] = 1
    dice = dice_of_counts(overlap_counts(prediction, label, 3))[0]
    assert dice[0] == 0
    assert math.isnan(dice[1])


def test_counts_refuse_other_shapes() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        overlap_counts(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 5), 3)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_auc_is_the_share_of_pairs_in_order(clean: list[int], attacked: list[int]) -> None:
    pairs = [(a > c) + 0.5 * (a == c) for a in attacked for c in clean]
    assert detection_auc(np.array(clean), np.array(attacked)) == pytest.approx(100 * np.mean(pairs))
    assert pair_order(np.array(clean), np.array(attacked)).mean() == pytest.approx(np.mean(pairs))


def test_auc_counts_what_is_not_finite_as_rejected() -> None:
    assert detection_auc(np.array([0.0, 1.0]), np.array([np.nan, np.inf])) == 100
    with pytest.raises(ValueError, match="needs clean and attacked"):
        detection_auc(np.array([]), np.array([1.0]))


def test_harm_by_hand() -> None:
    clean, defended = np.array([0.9, 0.8, 0.7, 0.6]), np.array([0.5, 0.1, 0.8, 0.6])
    assert residual_harm(clean, defended, np.array([False, True, False, False])) == pytest.approx(0.4 / 4)
    assert residual_harm(clean, defended, np.ones(4, dtype=bool)) == 0
    with pytest.raises(ValueError, match="one decision"):
        residual_harm(clean, defended, np.ones(3, dtype=bool))


def test_bootstrap_draws_subjects_not_slices() -> None:
    # two subjects, each with a value of their own repeated: the interval spans the two, however many slices they have
    subjects = ["a"] * 50 + ["b"] * 50
    values = np.array([0.0] * 50 + [1.0] * 50)
    assert subject_bootstrap(lambda i: float(values[i].mean()), subjects) == (0.0, 1.0)
    assert subject_bootstrap(lambda i: 3.0, subjects) == (3.0, 3.0)


def test_bootstrap_covers_a_mean() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(100):
        values = generator.normal(size=40)
        low, high = subject_bootstrap(lambda i, v=values: float(v[i].mean()), range(40), 300, seed=trial)
        hits += low <= 0 <= high
    assert 85 <= hits <= 100
