# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What defenses make of attacks, against a direct computation from scores and label maps that are made up."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from monai_shield.metrics import residual_harm
from reproduction.image_set import MEAN, POOLED, ImageSet
from reproduction.tables import find


def slice_dice(made: Any, prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Of each slice by itself; one without any structure, in label and prediction, is perfect."""
    each = [made.dice_by_scan(prediction[i : i + 1], label[i : i + 1], np.zeros(1))[0] for i in range(len(label))]
    return np.nan_to_num(np.array(each), nan=1.0)


def known_mean(values: Any, axis: int | None = None) -> Any:
    values = np.ma.masked_invalid(np.asarray(values, dtype=float))
    return np.ma.filled(values.mean(axis=axis), math.nan)


def lowest_threshold(clean: np.ndarray, t_fp: float) -> float:
    """The paper's rule: the lowest score above which lies no more than the allowed share."""
    return min(limit for limit in clean if (clean > limit).mean() <= t_fp)


def strangeness(known: np.ndarray, limit: float, score: float) -> float:
    """How many known scores lie at or above the limit for one at or above the score; what is not finite is stranger."""
    if not np.isfinite(score):
        return 1e9
    return (1 + (known >= limit).sum()) / (1 + (known >= score).sum())


def defended(made: Any, guards: list[str], reformer: str, which: ImageSet) -> dict[str, float]:
    """What a defense makes of attacked images, with the scores of both seeds where there are two."""
    target = which.target or ""
    rows, scans, label = made.rows_of(which.kind), made.scans[which], made.labels[which]
    clean = ImageSet("clean", target)
    bare, reformed = made.predictions[clean, None][rows], made.predictions[which, reformer]
    found: dict[str, list[np.ndarray]] = {}
    for k in (0, 1):
        rejected, rejected_clean = np.zeros(len(scans), bool), np.zeros(len(scans), bool)
        strange = []
        for name in guards:
            who = (name, k if name in made.study.grid.detectors else None)
            known = made.scores[made.clean_set(target, who, "val"), who]
            limit = lowest_threshold(known, made.study.settings.t_fp / len(guards))
            attacked_scores, clean_scores = made.scores[which, who], made.scores[made.clean_set(target, who), who][rows]
            rejected |= (attacked_scores > limit) | np.isnan(attacked_scores)
            rejected_clean |= (clean_scores > limit) | np.isnan(clean_scores)
            if len(guards) > 1:
                strange.append([strangeness(known, limit, score) for score in (*clean_scores, *attacked_scores)])
        away = rejected[:, None, None, None]
        lost = slice_dice(made, bare, label), slice_dice(made, reformed, label)
        truth = np.repeat([0, 1], [len(rows), len(scans)])
        each = {
            "auc": [100 * roc_auc_score(truth, np.max(strange, axis=0)) if strange else made.auc_by_hand(who, which)],
            "undefended": made.dice_by_scan(made.predictions[which, None], label, scans),
            "reformed": made.dice_by_scan(reformed, label, scans),
            "accepted": made.dice_by_scan(reformed[~rejected], label[~rejected], scans[~rejected]),
            "rejected_as_zero": made.dice_by_scan(np.where(away, 0, reformed), label, scans),
            "rejected_deferred": made.dice_by_scan(np.where(away, bare, reformed), label, scans),
            "harm": [residual_harm(*(x[scans == i] for x in (*lost, rejected))) for i in range(3)],
            "accepted_attacked": [1 - rejected[scans == i].mean() for i in range(3)],
            "accepted_clean": [1 - rejected_clean[scans == i].mean() for i in range(3)],
            "clean": made.dice_by_scan(bare, label, scans),
            "clean_reformed": made.dice_by_scan(made.predictions[clean, reformer][rows], label, scans),
        }
        for name, values in each.items():
            found.setdefault(name, []).append(np.asarray(values))
    return {name: float(known_mean([known_mean(each) for each in values])) for name, values in found.items()}


def check_defenses(made: Any, rows: list[dict[str, Any]]) -> None:
    measures = None
    for row in rows:
        *guards, reformer = made.study.grid.defenses[row["defense"]]
        assert (row["detector"], row["reformer"]) == (", then ".join(guards), reformer)
        targets = list(made.study.grid.targets) if row["target"] == MEAN else [row["target"]]
        attacks = ["A", "B"] if row["attack"] == POOLED else [row["attack"]]
        each = [defended(made, guards, reformer, ImageSet(a, t, row["variant"])) for t in targets for a in attacks]
        measures = set(each[0])
        assert measures < set(row)
        for name in measures:
            told = [one[name] for one in each if not math.isnan(one[name])]
            expected = np.mean(told) if told else math.nan
            assert row[name]["value"] == pytest.approx(expected, nan_ok=True), (row["defense"], name)
            if not math.isnan(expected):
                assert row[name]["low"] <= row[name]["high"]
    assert measures is not None


def test_every_defense_by_hand(made_up: Any) -> None:
    rows = made_up.summarized()["defenses"]
    alone, adjusted = (find(rows, adjusted=judged) for judged in (False, True))
    # every target and attack in two variants, the pooled ones of each target, and those of all targets
    assert len(alone) == len(adjusted) == len(made_up.study.grid.defenses) * (2 * 3 * 2 + 2 * 2 + 2)
    check_defenses(made_up, alone)
    # where all slices have as much foreground, to judge them by it changes nothing
    for row, judged in zip(alone, adjusted):
        assert judged == row | {"adjusted": True}


def test_what_has_no_score_is_rejected_and_what_is_all_rejected_has_no_dice(made_up: Any) -> None:
    attacked, clean = ImageSet("A", "one", "raw"), ImageSet("clean")
    who = ("spatial", 0)
    before = find(made_up.summarized()["defenses"], defense="1", target="one", attack="A", variant="raw")[0]
    for which, place in ((attacked, 2), (clean, 4)):
        scores = made_up.scores[which, who].copy()
        scores[place] = 0.0  # accepted for certain
        made_up.put_scores(which, who, scores)
    accepted = find(made_up.summarized()["defenses"], defense="1", target="one", attack="A", variant="raw")[0]
    for value in (math.nan, math.inf):
        for which, place in ((attacked, 2), (clean, 4)):
            scores = made_up.scores[which, who].copy()
            scores[place] = value
            made_up.put_scores(which, who, scores)
        summary = made_up.summarized()
        rejected = find(summary["defenses"], defense="1", target="one", attack="A", variant="raw")[0]
        for name in ("accepted_attacked", "accepted_clean"):
            # one of six slices of one of three scans, with one of two seeds
            assert accepted[name]["value"] - rejected[name]["value"] == pytest.approx(1 / 6 / 3 / 2)
        found = find(summary["detection"], detector="spatial", target="one", attack="A", variant="raw")[0]
        assert found["seeds"][0] == pytest.approx(made_up.auc_by_hand(who, attacked))
        assert all(np.isfinite(row["true_positive_rate"]).all() for row in summary["roc"])
    for k in (0, 1):
        made_up.put_scores(attacked, ("spatial", k), np.full(18, math.nan))
    rows = made_up.summarized()["defenses"]
    check_defenses(made_up, rows)
    nothing = find(rows, defense="1", target="one", attack="A", variant="raw")[0]
    assert math.isnan(nothing["accepted"]["value"])
    assert (
        nothing["accepted_attacked"]["value"] == nothing["harm"]["value"] == nothing["rejected_as_zero"]["value"] == 0
    )
    assert nothing["rejected_deferred"]["value"] == pytest.approx(nothing["clean"]["value"])
    assert nothing["reformed"] == before["reformed"]
