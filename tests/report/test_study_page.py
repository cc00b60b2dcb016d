# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import json
import sys

import pytest

from monai_shield.__main__ import main, report
from monai_shield.evaluation import attack_study_table
from monai_shield.report import StudyPageError, render_study, study_page
from monai_shield.report.html import table_of_markdown

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
    text = [piece.strip() for piece in reader.text]
    assert {"DAG <raw>", "–", "2.0", "50.0 (25.0–75.0)"} <= set(text)
    assert table_of_markdown(attack_study_table(ATTACK_STUDY)) in page.read_text(encoding="utf-8")
    assert "40 slices of 2 scans of 1 subjects" in " ".join(text)
    first = page.read_bytes()
    assert render_study(tmp_path).read_bytes() == first


def test_the_page_can_go_elsewhere(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(ATTACK_STUDY))
    assert report(str(tmp_path), str(tmp_path / "new" / "folder")) == str(tmp_path / "new" / "folder" / "report.html")
    assert (tmp_path / "new" / "folder" / "report.html").is_file()
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        (("defenses", "attacks", "calibration"), "render_defenses"),
        (("attacks", "calibration"), "evaluation_page"),
        (("attacks",), "attack_study_page"),
    ],
)
def test_the_results_say_which_study_they_are_of(keys, kind, tmp_path, monkeypatch):
    called = []
    for name in ("evaluation_page", "attack_study_page"):
        monkeypatch.setattr(study_page, name, lambda results, name=name: called.append(name) or name)
    monkeypatch.setattr(study_page, "render_defenses", lambda folder, output: called.append("render_defenses"))
    (tmp_path / "results.json").write_text(json.dumps({key: {} for key in keys}))
    render_study(tmp_path)
    assert called == [kind]


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
