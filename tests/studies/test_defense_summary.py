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
"""The rows of the tables, against a direct computation from scores and label maps that are made up."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import auc, roc_auc_score

from monai_shield.attacks import PGD
from monai_shield.metrics import overlap_counts, residual_harm
from monai_shield.studies import AttackPart, DefenseStudy
from monai_shield.studies.defense_summary import DefenseSummary
from monai_shield.studies.defense_tables import defense_tables, find, write_rows
from monai_shield.studies.defenses import FACTS
from monai_shield.studies.detection_rows import GRID
from monai_shield.studies.image_set import MEAN, POOLED, ImageSet
from monai_shield.studies.readings import StudyReadings
from monai_shield.studies.run import run_defense_study
from monai_shield.studies.tables import plain

SCANS = 3
T_FP = 0.25
DEFENSES = {
    "1": ("spatial", "convolution"),
    "2": ("shifted", "convolution"),
    "3": ("spatial", "shifted", "convolution"),
}


class MadeUp:
    """A study whose cells are filled by chance, and what they were filled with."""

    def __init__(self, study: DefenseStudy) -> None:
        self.study = study
        self.scores: dict[tuple[ImageSet, tuple[str, int | None]], np.ndarray] = {}
        self.predictions: dict[tuple[ImageSet, str | None], np.ndarray] = {}
        self.labels: dict[ImageSet, np.ndarray] = {}
        self.scans: dict[ImageSet, np.ndarray] = {}
        self.facts: dict[tuple[str, str, str], dict[str, np.ndarray]] = {}
        self.generator = np.random.default_rng(0)
        for target in study.targets:
            for attack in study.attacks:
                self._adversarial(target, attack)
        for which in study.measured.sets():
            number = len(study.data.val) if which.kind == "val" else len(study.labels(which))
            for who, key in study.measured.score_keys(which).items():
                shift = 1.0 if which.kind in study.attacks else 0.0
                # in tenths, so that there are ties
                self.scores[which, who] = self.generator.normal(shift, 1, number).round(1) + 10
                study.cells.put(*key, {"scores": torch.from_numpy(self.scores[which, who])})
            if which.kind != "val":
                self.labels[which] = study.labels(which).numpy()
                self.scans[which] = np.array([int(owner[1:]) - 3 for owner in study.owners(which)])
            for way in study.measured.count_keys(which):
                self._prediction(which, way)

    def _adversarial(self, target: str, attack: str) -> None:
        cells = []
        for volume, scan in self.study.data.volumes.items():
            number = len(self.study.attacks[attack].chosen(scan.chosen))
            cells.append({name: torch.from_numpy(self.generator.random(number)) for name in (*FACTS, "step")})
            clean = scan.slices[scan.chosen[self.study.attacks[attack].chosen(scan.chosen)]]
            # all pixels by so much, twice as much in the file
            step = 0.01 * cells[-1]["step"].float()[:, None, None, None]
            images = {"image": clean + step, "exported": clean + 2 * step}
            self.study.cells.put(*self.study.adversarial_key(target, attack, volume), cells[-1] | images)
        facts = {name: torch.cat([cell[name] for cell in cells]).numpy() for name in (*FACTS, "step")}
        for variant, times in {"raw": 1, "exported": 2}.items():
            size = {"norm_linf": times * 0.01 * facts["step"], "norm_l2": times * 0.01 * 16 * facts["step"]}
            told = {name: facts[name] for name in ("steps", "success")}
            self.facts[target, attack, variant] = told | size  # of 16 x 16 pixels

    def _prediction(self, which: ImageSet, way: str | None) -> None:
        """The label, but for some pixels of each slice, and a slice here and there where nothing is found."""
        label = self.labels[which]
        wrong = self.generator.random(label.shape) < self.generator.random((len(label), 1, 1, 1))
        guess = np.where(wrong, self.generator.integers(0, 3, label.shape), label)
        guess[self.generator.random(len(label)) < 0.1] = 0
        self.predictions[which, way] = guess
        counts = overlap_counts(torch.from_numpy(guess), torch.from_numpy(label), 3)
        self.study.cells.put(*self.study.measured.count_keys(which)[way], {"counts": counts})

    def put_scores(self, which: ImageSet, who: tuple[str, int | None], scores: np.ndarray) -> None:
        self.scores[which, who] = scores
        self.study.cells.put(*self.study.measured.score_keys(which)[who], {"scores": torch.from_numpy(scores)})


@pytest.fixture
def made_up(tiny_study, study_data) -> MadeUp:
    parts = tiny_study()
    return MadeUp(
        tiny_study(
            data=study_data(slices_per_volume=6),
            targets={"one": parts.targets["tiny"], "two": parts.targets["tiny"]},
            attacks={
                "A": AttackPart(PGD(0.1), pooled=True),
                "B": AttackPart(PGD(0.2), every=2, pooled=True),
                "C": AttackPart(PGD(0.3)),
            },
            detectors={name: replace(part, seeds=2) for name, part in parts.detectors.items()},
            defenses=DEFENSES,
            t_fp=T_FP,
        )
    )


def summarized(study: DefenseStudy) -> dict[str, list[dict[str, Any]]]:
    pairs = [("spatial", "spatial"), ("spatial", "shifted"), ("shifted", "spatial"), ("spatial", "zeros")]
    return DefenseSummary(study, pairs, resamples=40).as_dict()


# ---- by hand


def dice_by_scan(prediction: np.ndarray, label: np.ndarray, scans: np.ndarray) -> np.ndarray:
    """Mean over structures of the Dice of each scan's slices together, those left out that are nowhere."""
    found = []
    for scan in range(SCANS):
        mine, truth = prediction[scans == scan], label[scans == scan]
        sums = [((mine == k).sum() + (truth == k).sum(), ((mine == k) & (truth == k)).sum()) for k in (1, 2)]
        each = [2 * both / total for total, both in sums if total]
        found.append(np.mean(each) if each else math.nan)
    return np.array(found)


def slice_dice(prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Of each slice by itself; one without any structure, in label and prediction, is perfect."""
    each = [dice_by_scan(prediction[i : i + 1], label[i : i + 1], np.zeros(1))[0] for i in range(len(label))]
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


def rows_of(study: DefenseStudy, attack: str) -> np.ndarray:
    """Which of the 18 clean slices, six a scan, an attack was made from: of every two the first."""
    return np.arange(18)[:: study.attacks[attack].every]


def clean_set(target: str, who: tuple[str, int | None], kind: str = "clean") -> ImageSet:
    """Whose prediction is looked at where a detector without training scores clean images."""
    return ImageSet(kind, target if who[1] is None else None)


def defended(made: MadeUp, guards: tuple[str, ...], which: ImageSet) -> dict[str, float]:
    """What a defense makes of attacked images, with the scores of both seeds."""
    target = which.target or ""
    rows, scans, label = rows_of(made.study, which.kind), made.scans[which], made.labels[which]
    clean = ImageSet("clean", target)
    bare, reformed = made.predictions[clean, None][rows], made.predictions[which, "convolution"]
    found: dict[str, list[np.ndarray]] = {}
    for k in (0, 1):
        rejected, rejected_clean = np.zeros(len(scans), bool), np.zeros(len(scans), bool)
        strange = []
        for name in guards:
            who = (name, k)
            known = made.scores[clean_set(target, who, "val"), who]
            limit = lowest_threshold(known, T_FP / len(guards))
            attacked_scores, clean_scores = made.scores[which, who], made.scores[clean_set(target, who), who][rows]
            rejected |= (attacked_scores > limit) | np.isnan(attacked_scores)
            rejected_clean |= (clean_scores > limit) | np.isnan(clean_scores)
            if len(guards) > 1:
                strange.append([strangeness(known, limit, score) for score in (*clean_scores, *attacked_scores)])
        away = rejected[:, None, None, None]
        lost = slice_dice(bare, label), slice_dice(reformed, label)
        truth = np.repeat([0, 1], [len(rows), len(scans)])
        each = {
            "auc": [
                100 * roc_auc_score(truth, np.max(strange, axis=0))
                if strange
                else auc_by_hand(made, (guards[0], k), which)
            ],
            "undefended": dice_by_scan(made.predictions[which, None], label, scans),
            "reformed": dice_by_scan(reformed, label, scans),
            "accepted": dice_by_scan(reformed[~rejected], label[~rejected], scans[~rejected]),
            "rejected_as_zero": dice_by_scan(np.where(away, 0, reformed), label, scans),
            "rejected_deferred": dice_by_scan(np.where(away, bare, reformed), label, scans),
            "harm": [residual_harm(*(x[scans == i] for x in (*lost, rejected))) for i in range(SCANS)],
            "accepted_attacked": [1 - rejected[scans == i].mean() for i in range(SCANS)],
            "accepted_clean": [1 - rejected_clean[scans == i].mean() for i in range(SCANS)],
            "clean": dice_by_scan(bare, label, scans),
            "clean_reformed": dice_by_scan(made.predictions[clean, "convolution"][rows], label, scans),
        }
        for name, values in each.items():
            found.setdefault(name, []).append(np.asarray(values))
    return {name: float(known_mean([known_mean(each) for each in values])) for name, values in found.items()}


def auc_by_hand(made: MadeUp, who: tuple[str, int | None], which: ImageSet) -> float:
    clean = made.scores[clean_set(which.target or "", who), who][rows_of(made.study, which.kind)]
    scores = np.nan_to_num(np.r_[clean, made.scores[which, who]], nan=1e9, posinf=1e9)
    return 100 * roc_auc_score(np.r_[np.zeros(len(clean)), np.ones(len(scores) - len(clean))], scores)


def own_by_hand(made: MadeUp, who: tuple[str, int | None], which: ImageSet) -> float:
    """Share of the attacked slices above their own clean one, a tie counted half; every scan has as many."""
    clean = made.scores[clean_set(which.target or "", who), who][rows_of(made.study, which.kind)]
    scores = made.scores[which, who]
    return sum(1.0 if a > c else 0.5 if a == c else 0.0 for c, a in zip(clean, scores)) / len(scores)


# ---- tests


def check_defenses(made: MadeUp, rows: list[dict[str, Any]]) -> None:
    measures = None
    for row in rows:
        guards = DEFENSES[row["defense"]][:-1]
        assert row["detector"] == ", then ".join(guards)
        targets = list(made.study.targets) if row["target"] == MEAN else [row["target"]]
        attacks = ["A", "B"] if row["attack"] == POOLED else [row["attack"]]
        each = [defended(made, guards, ImageSet(a, t, row["variant"])) for t in targets for a in attacks]
        measures = set(each[0])
        assert measures < set(row)
        for name in measures:
            told = [one[name] for one in each if not math.isnan(one[name])]
            expected = np.mean(told) if told else math.nan
            assert row[name]["value"] == pytest.approx(expected, nan_ok=True), (row["defense"], name)
            if not math.isnan(expected):
                assert row[name]["low"] <= row[name]["high"]
    assert measures is not None


def test_every_defense_by_hand(made_up: MadeUp) -> None:
    rows = summarized(made_up.study)["defenses"]
    alone, given_body = (find(rows, given_body=judged) for judged in (False, True))
    # every target and attack in two variants, the pooled ones of each target, and those of all targets
    assert len(alone) == len(given_body) == len(DEFENSES) * (2 * 3 * 2 + 2 * 2 + 2)
    check_defenses(made_up, alone)
    # where all slices have as much body, to judge them by it changes nothing
    for row, judged in zip(alone, given_body):
        assert judged == row | {"given_body": True}


def test_what_has_no_score_is_rejected_and_what_is_all_rejected_has_no_dice(made_up: MadeUp) -> None:
    study = made_up.study
    attacked, clean = ImageSet("A", "one", "raw"), ImageSet("clean")
    who = ("spatial", 0)
    before = find(summarized(study)["defenses"], defense="1", target="one", attack="A", variant="raw")[0]
    for which, place in ((attacked, 2), (clean, 4)):
        scores = made_up.scores[which, who].copy()
        scores[place] = 0.0  # accepted for certain
        made_up.put_scores(which, who, scores)
    accepted = find(summarized(study)["defenses"], defense="1", target="one", attack="A", variant="raw")[0]
    for value in (math.nan, math.inf):
        for which, place in ((attacked, 2), (clean, 4)):
            scores = made_up.scores[which, who].copy()
            scores[place] = value
            made_up.put_scores(which, who, scores)
        summary = summarized(study)
        rejected = find(summary["defenses"], defense="1", target="one", attack="A", variant="raw")[0]
        for name in ("accepted_attacked", "accepted_clean"):
            # one of six slices of one of three scans, with one of two seeds
            assert accepted[name]["value"] - rejected[name]["value"] == pytest.approx(1 / 6 / 3 / 2)
        found = find(summary["detection"], detector="spatial", target="one", attack="A", variant="raw")[0]
        assert found["seeds"][0] == pytest.approx(auc_by_hand(made_up, who, attacked))
        assert all(np.isfinite(row["true_positive_rate"]).all() for row in summary["roc"])
    for k in (0, 1):
        made_up.put_scores(attacked, ("spatial", k), np.full(18, math.nan))
    rows = summarized(study)["defenses"]
    check_defenses(made_up, rows)
    nothing = find(rows, defense="1", target="one", attack="A", variant="raw")[0]
    assert math.isnan(nothing["accepted"]["value"])
    assert (
        nothing["accepted_attacked"]["value"] == nothing["harm"]["value"] == nothing["rejected_as_zero"]["value"] == 0
    )
    assert nothing["rejected_deferred"]["value"] == pytest.approx(nothing["clean"]["value"])
    assert nothing["reformed"] == before["reformed"]


def test_a_score_is_judged_against_slices_with_as_much_body(made_up: MadeUp) -> None:
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


def test_faint_noise_on_the_background_is_no_body(made_up: MadeUp) -> None:
    readings, which = StudyReadings(made_up.study), ImageSet("A", "one", "exported")
    changed = made_up.study.images(which)
    assert float((changed > 0).float().mean()) == 1
    assert np.array_equal(readings.log_body(which), readings.log_body(ImageSet("clean")))


@pytest.mark.parametrize(("score", "words"), [(math.nan, "a clean score is not finite"), (-1.0, "negative scores")])
def test_what_cannot_be_judged_by_body_says_so(made_up: MadeUp, score: float, words: str) -> None:
    val, who = ImageSet("val"), ("spatial", 0)
    made_up.put_scores(val, who, np.r_[score, made_up.scores[val, who][1:]])
    with pytest.raises(ValueError, match=f"'spatial' in 'one, A, raw': {words}"):
        StudyReadings(made_up.study).scores(ImageSet("A", "one", "raw"), who, given_body=True)


def test_trainings_are_drawn_as_people_are(made_up: MadeUp) -> None:
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


def test_every_auc_by_hand(made_up: MadeUp) -> None:
    summary = summarized(made_up.study)
    assert len(summary["detection"]) == 5 * (2 + 1) * (3 + 1) * 2
    for row in summary["detection"]:
        targets = ["one", "two"] if row["target"] == MEAN else [row["target"]]
        attacks = ["A", "B"] if row["attack"] == POOLED else [row["attack"]]
        seeds = [0, 1] if row["group"] == "paper" else [None]
        expected = [
            np.mean(
                [
                    auc_by_hand(made_up, (row["detector"], k), ImageSet(a, t, row["variant"]))
                    for t in targets
                    for a in attacks
                ]
            )
            for k in seeds
        ]
        assert row["seeds"] == pytest.approx(expected)
        own = [
            own_by_hand(made_up, (row["detector"], k), ImageSet(a, t, row["variant"]))
            for k in seeds
            for t in targets
            for a in attacks
        ]
        assert row["above_own"]["value"] == pytest.approx(100 * np.mean(own))
        assert row["auc"]["value"] == pytest.approx(np.mean(expected))
        assert row["auc"]["low"] <= row["auc"]["high"]
        assert row["given_body"] == row["auc"]  # all slices have as much body


def test_differences_are_paired(made_up: MadeUp) -> None:
    summary = summarized(made_up.study)
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
    study = made_up.study
    for which, who in list(made_up.scores):
        if who[0] == "shifted":
            twin = made_up.scores[which, ("spatial", who[1])]
            made_up.put_scores(which, who, 3 * twin + 1)
    for row in find(summarized(study)["comparisons"], first="spatial", second="shifted"):
        assert row["difference"] == {"value": 0, "low": 0, "high": 0}


def test_undefended_and_clean_by_hand(made_up: MadeUp) -> None:
    summary = summarized(made_up.study)
    for row in summary["undefended"]:
        which = ImageSet(row["attack"], row["target"], row["variant"])
        rows, scans, label = rows_of(made_up.study, row["attack"]), made_up.scans[which], made_up.labels[which]
        assert row["slices"] == len(rows)
        bare = made_up.predictions[ImageSet("clean", row["target"]), None][rows]
        assert row["clean"]["value"] == pytest.approx(dice_by_scan(bare, label, scans).mean())
        attacked = dice_by_scan(made_up.predictions[which, None], label, scans)
        assert row["attacked"]["value"] == pytest.approx(attacked.mean())
        for name, values in made_up.facts[row["target"], row["attack"], row["variant"]].items():
            assert row[name] == pytest.approx(values.mean(), rel=1e-4)
    for row in summary["targets"]:
        which = ImageSet("whole", row["target"])
        prediction, label, scans = made_up.predictions[which, None], made_up.labels[which], made_up.scans[which]
        assert len(label) == 3 * 14
        assert row["dice"]["value"] == pytest.approx(dice_by_scan(prediction, label, scans).mean())
        for k, structure in enumerate(("middle", "bright"), start=1):
            alone = dice_by_scan(prediction == k, label == k, scans)
            assert row["structures"][structure]["value"] == pytest.approx(alone.mean())
        assert row["parameters"] == 4 * 9 + 4 + 4 * 3 + 3
    about = {row["detector"]: (row["group"], row["parameters"], row["seeds"]) for row in summary["detectors"]}
    assert about["spatial"] == ("paper", 10, 2)
    assert about["zeros"] == ("baseline", 0, 1)


def test_the_area_under_a_curve_is_the_auc_of_the_pooled_images(made_up: MadeUp) -> None:
    summary = summarized(made_up.study)
    assert len(summary["roc"]) == 5 * 2
    for row in summary["roc"]:
        rate = np.array(row["true_positive_rate"])
        assert bool((np.diff(rate) >= 0).all())
        assert rate[-1] == 1
        who = (row["detector"], 0 if row["group"] == "paper" else None)
        areas = []
        for target in ("one", "two"):
            clean = made_up.scores[clean_set(target, who), who]
            attacked = np.concatenate([made_up.scores[ImageSet(a, target, row["variant"]), who] for a in "AB"])
            areas.append(roc_auc_score(np.r_[np.zeros(len(clean)), np.ones(len(attacked))], np.r_[clean, attacked]))
        # the grid cuts off no more than a step at each of the 18 jumps
        assert auc(GRID, rate) == pytest.approx(np.mean(areas), abs=0.01)


def test_tables_hold_what_the_rows_say(made_up: MadeUp, tmp_path: Path) -> None:
    made_up.put_scores(ImageSet("A", "one", "raw"), ("spatial", 0), np.full(18, math.nan))
    made_up.put_scores(ImageSet("A", "one", "raw"), ("spatial", 1), np.full(18, math.nan))
    results = json.loads(json.dumps(plain(summarized(made_up.study)), allow_nan=False))
    tables = defense_tables(results | {"settings": made_up.study.described()})
    trained = {line.split("|")[1].strip(): line for line in tables["How the networks were trained"].splitlines()[2:]}
    assert set(trained) == {"one", "two", "spatial", "shifted"}
    for name, line in trained.items():
        errors = [made_up.scores[ImageSet("val"), (name, k)].mean() for k in (0, 1)] if name[0] == "s" else []
        # of 24 training slices 8, in batches of 4
        assert [cell.strip() for cell in line.split("|")[3:5]] == ["2", ", ".join(f"{each:.3g}" for each in errors)]
    for variant in ("raw", "exported"):
        rows = tables[f"Defenses of one, pooled, {variant}"].splitlines()[2:]
        assert [line.split("|")[1].strip() for line in rows] == list(DEFENSES)
        for line in tables[f"AUC, paper, {variant}"].splitlines()[2:]:
            name, _, one, two, mean = (cell.strip() for cell in line.split("|")[1:6])
            found = {
                row["target"]: row["auc"]["value"]
                for row in find(results["detection"], detector=name, attack=POOLED, variant=variant)
            }
            assert [one, two] == [f"{found['one']:.1f}", f"{found['two']:.1f}"]
            assert float(mean.split()[0]) == pytest.approx(found[MEAN], abs=0.051)
    write_rows(results, tmp_path / "rows")
    for table, rows in results.items():
        with (tmp_path / "rows" / f"{table}.csv").open(newline="") as file:
            written = list(csv.DictReader(file))
        assert len(written) == len(rows)
    with (tmp_path / "rows" / "detection.csv").open(newline="") as file:
        for line, row in zip(csv.DictReader(file), results["detection"]):
            assert line["detector"] == row["detector"]
            assert float(line["auc value"]) == row["auc"]["value"]


def test_a_comparison_with_a_detector_that_is_left_out_is_left_out(tiny_study: Callable[..., DefenseStudy]) -> None:
    parts = tiny_study().detectors
    study = tiny_study(
        detectors=parts | {"other": replace(parts["shifted"], group="layout")},
        groups=["paper"],
        reformers={"convolution": "spatial"},
    )
    study.run()
    pairs = [("spatial", "other"), ("shifted", "spatial")]
    rows = DefenseSummary(study, pairs, resamples=10).as_dict()["comparisons"]
    assert {(row["first"], row["second"]) for row in rows} == {("shifted", "spatial")}


def test_a_comparison_with_what_nobody_knows_is_refused_before_anything_is_computed(
    tiny_study: Callable[..., DefenseStudy],
) -> None:
    study = tiny_study()
    with pytest.raises(ValueError, match="comparisons name what is not there: shiftd, spatail"):
        run_defense_study(study, [("shiftd", "spatial"), ("spatail", "zeros")])
    assert not study.output_dir.exists()
