# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""How well attacks are seen, against a direct computation from scores that are made up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import auc, roc_auc_score

from reproduction.detection_rows import GRID
from reproduction.image_set import MEAN, POOLED, ImageSet
from reproduction.tables import find


def test_every_auc_by_hand(made_up: Any) -> None:
    summary = made_up.summarized()
    assert len(summary["detection"]) == 5 * (2 + 1) * (3 + 1) * 2
    for row in summary["detection"]:
        targets = ["one", "two"] if row["target"] == MEAN else [row["target"]]
        attacks = ["A", "B"] if row["attack"] == POOLED else [row["attack"]]
        seeds = [0, 1] if row["group"] == "paper" else [None]
        expected = [
            np.mean(
                [
                    made_up.auc_by_hand((row["detector"], k), ImageSet(a, t, row["variant"]))
                    for t in targets
                    for a in attacks
                ]
            )
            for k in seeds
        ]
        assert row["seeds"] == pytest.approx(expected)
        own = [
            made_up.own_by_hand((row["detector"], k), ImageSet(a, t, row["variant"]))
            for k in seeds
            for t in targets
            for a in attacks
        ]
        assert row["paired_win_rate"]["value"] == pytest.approx(100 * np.mean(own))
        assert row["auc"]["value"] == pytest.approx(np.mean(expected))
        assert row["auc"]["low"] <= row["auc"]["high"]
        assert row["adjusted"] == row["auc"]  # all slices have as much foreground


def test_differences_are_paired(made_up: Any) -> None:
    summary = made_up.summarized()
    assert len(summary["comparisons"]) == 4 * 3 * 4 * 2
    for row in find(summary["comparisons"], first="spatial", second="spatial"):
        assert row["difference"] == {"value": 0, "low": 0, "high": 0}
    where = ("target", "attack", "variant")
    for row in find(summary["comparisons"], first="spatial", second="shifted"):
        place = {name: row[name] for name in where}
        (other,) = find(summary["comparisons"], first="shifted", second="spatial", **place)
        assert row["difference"]["value"] == pytest.approx(-other["difference"]["value"])
        assert row["difference"]["low"] == pytest.approx(-other["difference"]["high"])
        one, two = (find(summary["detection"], detector=name, **place)[0]["auc"] for name in ("spatial", "shifted"))
        assert row["difference"]["value"] == pytest.approx(one["value"] - two["value"])
    # what two detectors share takes nothing from what is told about their difference
    for which, who in list(made_up.scores):
        if who[0] == "shifted":
            twin = made_up.scores[which, ("spatial", who[1])]
            made_up.put_scores(which, who, 3 * twin + 1)
    for row in find(made_up.summarized()["comparisons"], first="spatial", second="shifted"):
        assert row["difference"] == {"value": 0, "low": 0, "high": 0}


def test_the_area_under_a_curve_is_the_auc_of_the_pooled_images(made_up: Any) -> None:
    summary = made_up.summarized()
    assert len(summary["roc"]) == 5 * 2
    for row in summary["roc"]:
        rate = np.array(row["true_positive_rate"])
        assert bool((np.diff(rate) >= 0).all())
        assert rate[-1] == 1
        who = (row["detector"], 0 if row["group"] == "paper" else None)
        areas = []
        for target in ("one", "two"):
            clean = made_up.scores[made_up.clean_set(target, who), who]
            attacked = np.concatenate([made_up.scores[ImageSet(a, target, row["variant"]), who] for a in "AB"])
            areas.append(roc_auc_score(np.r_[np.zeros(len(clean)), np.ones(len(attacked))], np.r_[clean, attacked]))
        # the grid cuts off no more than a step at each of the 18 jumps
        assert auc(GRID, rate) == pytest.approx(np.mean(areas), abs=0.01)
