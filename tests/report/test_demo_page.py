# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The demo's page: its numbers, its pictures, and that it stands alone."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from monai_shield.__main__ import report
from monai_shield.errors import UserError
from monai_shield.report import demo_page, render_demo, words


def test_the_page_stands_alone_and_says_what_the_numbers_say(finished_demo, read_page):
    result = json.loads((finished_demo / "result.json").read_text())
    page = (finished_demo / "report.html").read_text(encoding="utf-8")
    reader = read_page(page)
    assert all(address.startswith("data:") for address in reader.addresses)
    assert "http://" not in page
    assert "https://" not in page
    text = " ".join(" ".join(reader.text).split())
    assert words.ILLUSTRATION in text
    assert words.headline(result) in text
    for finding in words.findings(result):
        assert finding.text in text
    assert reader.tags.count("img") == 4


def test_the_numbers_of_the_page_are_those_of_the_json(finished_demo, read_page):
    result = json.loads((finished_demo / "result.json").read_text())
    reader = read_page((finished_demo / "report.html").read_text(encoding="utf-8"))
    numbers, structures, files = reader.tables
    rows = {name: cells for name, *cells in numbers}
    clean, attacked = result["scans"]["clean"], result["scans"]["attacked"]
    assert rows["rejected as a whole"] == ["no", "yes"]
    assert [float(x) for x in rows["score: share of slices rejected"]] == pytest.approx(
        [clean["score"], attacked["score"]], abs=6e-4
    )
    assert rows["threshold of a slice's score"] == ["2.718", "2.718"]
    assert rows["of those in the attacked slab"] == ["0 of 4", "4 of 4"]
    assert rows["p-value of the scan"] == ["– (needs 19 subjects)"] * 2
    assert float(rows["Dice in the slab, undefended"][1]) == result["dice"]["slab"]["attacked"]
    assert float(rows["Dice in the slab, reformed"][1]) == result["dice"]["slab"]["attacked_reformed"]
    assert float(rows["Dice of the whole scan, undefended"][1]) == result["dice"]["scan"]["attacked"]
    assert structures[1:] == [[name, "0.200", "0.950", "0.990"] for name in result["dice"]["structures"]]
    assert dict(files) == result["files"]


def test_a_structure_that_is_nowhere_is_not_told_of(demo_folder, read_page):
    result = json.loads((demo_folder / "result.json").read_text())
    result["dice"]["structures"]["left part"] = dict.fromkeys(result["dice"]["structures"]["left part"])
    (demo_folder / "result.json").write_text(json.dumps(result))
    render_demo(demo_folder)
    _, structures, _ = read_page((demo_folder / "report.html").read_text(encoding="utf-8")).tables
    assert [name for name, *_ in structures] == ["structure", "right part"]


@pytest.mark.parametrize(("subjects", "promised"), [(4, False), (19, True)])
def test_a_promise_per_subject_needs_enough_subjects(subjects, promised, demo_folder):
    result = json.loads((demo_folder / "result.json").read_text())
    result["calibration"]["subjects"] = subjects
    (demo_folder / "result.json").write_text(json.dumps(result))
    render_demo(demo_folder)
    assert ("no promise" not in (demo_folder / "report.html").read_text(encoding="utf-8")) == promised


def test_other_numbers_make_another_page(finished_demo, missed_demo):
    for root, verdict, repaired in (
        (finished_demo, "noticed the attack", True),
        (missed_demo, "did not notice the attack", False),
    ):
        page = (root / "report.html").read_text(encoding="utf-8")
        assert f"The shield: it {verdict}." in page
        assert ("it repaired the segmentation" in page) == repaired


def test_the_picture_is_a_png_and_nothing_half_written_stays(finished_demo):
    data = (finished_demo / "figure.png").read_bytes()
    assert struct.unpack(">II", data[16:24]) == (1000, 1420)
    assert not [file for file in finished_demo.iterdir() if file.name.startswith(".")]


def test_the_shown_slice_is_read_from_the_files(demo_folder, made_up_demo):
    result = json.loads((demo_folder / "result.json").read_text())
    view = demo_page.shown_slice(demo_folder, result)
    np.testing.assert_allclose(view.clean * 1500, made_up_demo.voxels(len("clean"))[:, 2])
    assert view.classes == 3


@pytest.mark.parametrize("missing", ["result.json", "attacked.nii.gz", "defended/attacked_seg.nii.gz"])
def test_a_missing_file_is_named(demo_folder, missing):
    (demo_folder / missing).unlink()
    with pytest.raises(FileNotFoundError, match=Path(missing).name):
        render_demo(demo_folder)
    assert not (demo_folder / "report.html").exists()


def test_the_report_command_writes_the_page_anew(demo_folder):
    assert Path(report(str(demo_folder))).read_text().startswith("<!doctype html>")


def test_results_of_another_version_are_refused_in_one_line(demo_folder):
    result = json.loads((demo_folder / "result.json").read_text())
    del result["calibration"]["subjects"]
    (demo_folder / "result.json").write_text(json.dumps(result))
    with pytest.raises(UserError, match=r"has no attribute 'subjects'\): make them anew\.$"):
        report(str(demo_folder))
