# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The other rows of the summary, what its tables say of them, and what cannot be compared."""

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

from monai_shield.evaluation.tables import plain
from reproduction.image_set import MEAN, POOLED, ImageSet
from reproduction.study import DefenseStudy
from reproduction.summary import DefenseSummary
from reproduction.tables import defense_tables, find, write_rows


def test_undefended_and_clean_by_hand(made_up: Any) -> None:
    summary = made_up.summarized()
    for row in summary["undefended"]:
        which = ImageSet(row["attack"], row["target"], row["variant"])
        rows, scans, label = made_up.rows_of(row["attack"]), made_up.scans[which], made_up.labels[which]
        assert row["slices"] == len(rows)
        bare = made_up.predictions[ImageSet("clean", row["target"]), None][rows]
        assert row["clean"]["value"] == pytest.approx(made_up.dice_by_scan(bare, label, scans).mean())
        attacked = made_up.dice_by_scan(made_up.predictions[which, None], label, scans)
        assert row["attacked"]["value"] == pytest.approx(attacked.mean())
        for name, values in made_up.facts[row["target"], row["attack"], row["variant"]].items():
            assert row[name] == pytest.approx(values.mean(), rel=1e-4)
    for row in summary["targets"]:
        which = ImageSet("whole", row["target"])
        prediction, label, scans = made_up.predictions[which, None], made_up.labels[which], made_up.scans[which]
        assert len(label) == 3 * 14
        assert row["dice"]["value"] == pytest.approx(made_up.dice_by_scan(prediction, label, scans).mean())
        for k, structure in enumerate(("middle", "bright"), start=1):
            alone = made_up.dice_by_scan(prediction == k, label == k, scans)
            assert row["structures"][structure]["value"] == pytest.approx(alone.mean())
        assert row["parameters"] == 4 * 9 + 4 + 4 * 3 + 3
    about = {row["detector"]: (row["group"], row["parameters"], row["seeds"]) for row in summary["detectors"]}
    assert about["spatial"] == ("paper", 10, 2)
    assert about["zeros"] == ("baseline", 0, 1)


def test_tables_hold_what_the_rows_say(made_up: Any, tmp_path: Path) -> None:
    made_up.put_scores(ImageSet("A", "one", "raw"), ("spatial", 0), np.full(18, math.nan))
    made_up.put_scores(ImageSet("A", "one", "raw"), ("spatial", 1), np.full(18, math.nan))
    results = json.loads(json.dumps(plain(made_up.summarized()), allow_nan=False))
    tables = defense_tables(results | {"settings": made_up.study.settings_as_dict()})
    trained = {line.split("|")[1].strip(): line for line in tables["How the networks were trained"].splitlines()[2:]}
    assert set(trained) == {"one", "two", "spatial", "shifted"}
    for name, line in trained.items():
        errors = [made_up.scores[ImageSet("val"), (name, k)].mean() for k in (0, 1)] if name[0] == "s" else []
        # of 24 training slices 8, in batches of 4
        told = [cell.strip() for cell in line.split("|")[3:6]]
        assert told == ["2", ", ".join(f"{each:.3g}" for each in errors), "L2" if errors else ""]
    for variant in ("raw", "exported"):
        rows = tables[f"Defenses of one, pooled, {variant}"].splitlines()[2:]
        assert [line.split("|")[1].strip() for line in rows] == list(made_up.study.grid.defenses)
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
    parts = tiny_study().grid.detectors
    study = tiny_study(
        detectors=parts | {"other": replace(parts["shifted"], group="layout")},
        groups=["paper"],
        reformers={"convolution": "spatial"},
        comparisons=[("spatial", "other"), ("shifted", "spatial")],
    )
    study.run()
    rows = DefenseSummary(study, resamples=10).as_dict()["comparisons"]
    assert {(row["first"], row["second"]) for row in rows} == {("shifted", "spatial")}
