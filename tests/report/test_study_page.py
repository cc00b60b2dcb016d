# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import json
import sys

import pytest

from monai_shield.__main__ import main, report
from monai_shield.evaluation import attack_study_table
from monai_shield.report import StudyPageError, render_study
from monai_shield.report.pages import table_cells

INTERVAL = {"value": 0.5, "low": 0.25, "high": 0.75}
ATTACK_STUDY = {
    "volumes": 2,
    "subjects": 1,
    "slices": 40,
    "clean": {"dice": INTERVAL},
    "attacks": {
        "DAG <raw>": {
            "flipped": INTERVAL,
            "success": INTERVAL,
            "dice": {"value": None, "low": None, "high": None},
            "norm_linf": 2 / 255,
            "norm_l2": 1.5,
            "steps": 20.0,
            "seconds": 0.25,
        }
    },
    "provenance": {"date": "2026-11-23"},
}


def test_a_study_of_attacks_has_a_page_with_its_table(tmp_path, read_page):
    (tmp_path / "results.json").write_text(json.dumps(ATTACK_STUDY))
    page = render_study(tmp_path)
    assert page == tmp_path / "report.html"
    reader = read_page(page.read_text(encoding="utf-8"))
    assert not reader.addresses
    assert reader.tables == [table_cells(attack_study_table(ATTACK_STUDY))]
    assert {"DAG <raw>", "–", "2.0", "50.0 (25.0–75.0)"} <= set(reader.tables[0][-1])
    assert "40 slices of 2 scans of 1 subjects" in " ".join(reader.text)
    first = page.read_bytes()
    assert render_study(tmp_path).read_bytes() == first


def test_the_page_can_go_elsewhere(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(ATTACK_STUDY))
    assert report(str(tmp_path), str(tmp_path / "new" / "folder")) == str(tmp_path / "new" / "folder" / "report.html")
    assert (tmp_path / "new" / "folder" / "report.html").is_file()
    assert not (tmp_path / "report.html").exists()


def test_an_evaluation_has_a_page_with_its_tables(tmp_path, read_page):
    ways = ("clean", "attacked", "reformed", "accepted", "rejected_as_zero", "rejected_deferred")
    attack = {
        "auc": {"combined": INTERVAL},
        "rejected_attacked": INTERVAL,
        "rejected_clean": INTERVAL,
        "dice": dict.fromkeys(ways, INTERVAL),
        "residual_harm": {"value": None, "low": None, "high": None},
        "linf": 0.1,
        "l2": 2.0,
    }
    results = {
        "volumes": 2,
        "subjects": 1,
        "calibration": {"threshold": 1.0, "t_fp": 0.05, "rule": "conformal", "slices": 40, "volumes": 3, "source": "x"},
        "clean": {
            "dice": {"bare": INTERVAL},
            "dice_per_structure": {"bare": {"left part": 0.875}},
            "false_positive_rate": INTERVAL,
            "false_positive_rate_per_scan": {"a": 0.125, "b": 0.0},
            "volumes_rejected": 0,
        },
        "attacks": {"DAG <raw>": attack},
        "provenance": {"date": "2026-11-22", "revision": None},
    }
    (tmp_path / "results.json").write_text(json.dumps(results))
    reader = read_page(render_study(tmp_path).read_text(encoding="utf-8"))
    assert not reader.addresses
    clean, attacks, structures = reader.tables
    assert ["lowest and highest of a scan", "0.000, 0.125"] in clean
    assert attacks[1][:2] == ["DAG <raw>", "0.5 (0.2–0.8)"]
    assert "–" in attacks[1]
    assert structures == [["structure", "bare"], ["left part", "0.875"]]
    assert "40 clean slices of 3 scans (x)" in " ".join(" ".join(reader.text).split())


@pytest.mark.parametrize("text", ["[]", "{}", '{"volumes": 2}', "no JSON", '[{"file": "a.nii"}]'])
def test_what_is_no_study_is_refused_in_one_line(text, tmp_path, monkeypatch):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(StudyPageError, match=r"results\.json"):
        render_study(tmp_path)
    monkeypatch.setattr(sys, "argv", ["monai-shield", "report", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"^monai-shield: .*results\.json.*$") as caught:
        main()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_a_folder_without_results_is_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"results\.json' is missing"):
        render_study(tmp_path)
    monkeypatch.setattr(sys, "argv", ["monai-shield", "report", str(tmp_path), "--output", str(tmp_path / "new")])
    with pytest.raises(SystemExit, match=r"results\.json' is missing"):
        main()
    assert not (tmp_path / "new").exists()
