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
import copy
import json
import os
import shlex
import struct
import subprocess
import sys
from pathlib import Path

import fire.parser
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, CropForegroundd, LoadImaged, Orientationd, SpatialPadd

from monai_shield.attacks import DAG
from monai_shield.detectors import Calibration
from monai_shield.report import Demo, DemoError, closing_words, demo_attack, demo_page, demo_result, render_demo, words
from monai_shield.report import demo as module
from monai_shield.transforms import ScaleToWindowd
from monai_shield.utils import write_sum

STRUCTURES = ["left part", "right part"]
AXIS = 1  # of the coronal slices
SHAPE = (12, 16, 10)


def scan(rejected=False, in_slab=0, outside=0, slab=4, scored=16):
    """The record of a scan: `in_slab` and `outside` slices rejected."""
    slices = [
        {
            "slice": index,
            "position_mm": float(index),
            "score": 3.25 if (index < in_slab or slab <= index < slab + outside) else 0.125,
            "p_value": 0.01 if index < in_slab else 0.5,
            "rejected": index < in_slab or slab <= index < slab + outside,
            "in_slab": index < slab,
        }
        for index in range(scored)
    ]
    return {
        "file": "clean.nii.gz",
        "rejected": rejected,
        "score": (in_slab + outside) / scored,
        "threshold": 0.1,
        "p_value": None,
        "reason": "too many" if rejected else "",
        "slices_scored": scored,
        "slices_rejected": in_slab + outside,
        "slab_slices_scored": slab,
        "slab_slices_rejected": in_slab,
        "slab_median_p_value": 0.01 if in_slab > slab / 2 else 0.5,
        "slices": slices,
    }


def result_of(clean=None, attacked=None, damaged=0.2, reformed=0.95, clean_reformed=0.99):
    """The numbers of a demo: by default the attack works, is noticed, and is repaired."""
    dice = {"attacked": damaged, "attacked_reformed": reformed, "clean_reformed": clean_reformed}
    return {
        "what": words.ILLUSTRATION,
        "person": {"number": 700, "seed": 0},
        "attack": {
            "name": "DAG",
            "arxiv": "1703.08603",
            "target": "background",
            "step": 0.5,
            "norm": "l2",
            "max_steps": 20,
            "slices": 4,
            "slices_succeeded": 4,
            "steps_mean": 7.5,
            "l2_mean": 3.5,
            "largest_change": 0.123,
            "mean_change_where_changed": 0.034,
        },
        "calibration": {
            "threshold": 2.718,
            "t_fp": 0.05,
            "rule": "conformal",
            "slices": 320,
            "persons": 4,
            "persons_needed_for_a_promise_per_person": 19,
            "volume_limit": 0.1,
            "source": "site (val)",
        },
        "scans": {"clean": clean or scan(outside=1), "attacked": attacked or scan(rejected=True, in_slab=4)},
        "dice": {
            "slab": dict(dice),
            "scan": {"attacked": 0.811, "attacked_reformed": 0.955, "clean_reformed": clean_reformed},
            "structures": {name: dict(dice) for name in STRUCTURES},
        },
        "slab_mm": [-0.5, 3.5],
        "shown_slice": {"slice": 2, "position_mm": 2.0, "file_axis": AXIS, "file_index": 2, "rejected": True},
        "intensity_window": [0.0, 1500.0],
        "spatial_size": [16, 12],
        "files": dict(module._FILES),
        "commands": ["python -m monai.bundle run calibration --every_nth_slice 2"],
        "seconds": {"people": 12.3, "attack": 45.6},
        "provenance": {
            "date": "2026-11-22",
            "revision": "abc",
            "monai_shield": "0.1.0",
            "monai": "1.6.1",
            "torch": "2.13.0",
            "device": "cpu",
            "threads": 2,
        },
    }


def write(path, values, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, np.diag([-1.0, 1, 1, 1]) if affine is None else affine), path)


def brain(seed=0):
    values = np.zeros(SHAPE, dtype=np.int16)
    values[2:10, 1:15, 2:9] = np.random.default_rng(seed).integers(500, 1500, (8, 14, 7))
    return values


def fill(root, result):
    """A demo's folder as it is before picture and page are made."""
    for name, file in result["files"].items():
        label = (brain() > 0).astype(np.uint8)
        write(root / file, brain(len(name)) if "," not in name else label)
    (root / "result.json").write_text(json.dumps(result))
    return root


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path, result_of())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A demo's folder with picture and page, to look at only."""
    root = fill(tmp_path_factory.mktemp("demo"), result_of())
    render_demo(root)
    return root


@pytest.fixture(scope="module")
def missed(tmp_path_factory):
    """Another one, of an attack that went unnoticed and was not repaired."""
    root = fill(tmp_path_factory.mktemp("demo"), result_of(attacked=scan(), reformed=0.2))
    render_demo(root)
    return root


# ---- words


def verdicts(result):
    return {each.name: each.verdict for each in words.findings(result)}


def test_the_words_of_an_attack_that_is_noticed_and_repaired():
    found = verdicts(result_of())
    assert found["The attack"] == "it broke the segmentation"
    assert found["Noticed?"] == "it noticed the attack"
    assert found["False alarm?"] == "some slices, more than allowed"
    assert found["Repaired?"] == "it repaired the segmentation"
    assert found["What a user gets"] == "an empty label and a reason"


@pytest.mark.parametrize(
    ("clean", "attacked", "verdict"),
    [
        (scan(), scan(), "it did not notice the attack"),
        (scan(in_slab=2), scan(in_slab=2), "it did not notice the attack"),
        (scan(), scan(in_slab=1), "it noticed only single slices"),
        (
            scan(rejected=True, outside=6),
            scan(rejected=True, in_slab=4, outside=6),
            "it rejected both scans, the clean one too",
        ),
        (scan(rejected=True, outside=6), scan(rejected=True, outside=6), "it did not notice the attack"),
        (scan(), scan(rejected=True, outside=6), "it rejected the scan, but not for the attack"),
        (scan(), scan(rejected=True, in_slab=4), "it noticed the attack"),
    ],
)
def test_the_words_say_whether_it_was_noticed(clean, attacked, verdict):
    assert verdicts(result_of(clean, attacked))["Noticed?"] == verdict


@pytest.mark.parametrize(
    ("damaged", "reformed", "verdict"),
    [
        (0.2, 0.95, "it repaired the segmentation"),
        (0.2, 0.85, "it repaired most of the damage"),
        (0.2, 0.6, "it repaired part of the damage"),
        (0.2, 0.3, "it repaired little of the damage"),
        (0.2, 0.21, "it did not repair the damage"),
        (0.2, 0.1, "it made things worse"),
        (0.95, 0.96, "there was little to repair"),
        (0.95, 0.5, "it made things worse"),
    ],
)
def test_the_words_say_whether_it_was_repaired(damaged, reformed, verdict):
    assert verdicts(result_of(damaged=damaged, reformed=reformed))["Repaired?"] == verdict


@pytest.mark.parametrize(
    ("damaged", "verdict"),
    [(0.1, "it broke the segmentation"), (0.7, "it damaged the segmentation"), (0.99, "it failed")],
)
def test_the_words_say_what_the_attack_did(damaged, verdict):
    assert verdicts(result_of(damaged=damaged))["The attack"] == verdict


@pytest.mark.parametrize(
    ("clean", "verdict"),
    [
        (scan(), "none"),
        (scan(outside=1, scored=40), "some slices, within what is allowed"),
        (scan(outside=3), "some slices, more than allowed"),
        (scan(rejected=True, outside=6), "yes, the clean scan is rejected"),
    ],
)
def test_the_words_say_whether_there_was_a_false_alarm(clean, verdict):
    assert verdicts(result_of(clean))["False alarm?"] == verdict


def test_nothing_warns_the_user_where_nothing_is_rejected():
    found = {each.name: each for each in words.findings(result_of(attacked=scan()))}
    assert found["What a user gets"].verdict == "the reformed answer, without a warning"


@pytest.mark.parametrize(("persons", "promised"), [(4, False), (19, True)])
def test_a_promise_per_person_needs_enough_people(persons, promised):
    result = result_of()
    result["calibration"]["persons"] = persons
    assert ("no promise" not in words.calibration_words(result)) == promised


def test_the_closing_words_say_what_where_and_that_it_is_no_evidence():
    said = closing_words(result_of(), "demo")
    assert words.ILLUSTRATION in " ".join(said.split())
    assert max(len(line) for line in said.splitlines()) <= 100
    for path in ("demo/report.html", "demo/figure.png", "demo/result.json"):
        assert path in said
    assert "it noticed the attack" in said
    assert "it did not notice the attack" in closing_words(result_of(attacked=scan()), "demo")


# ---- page


def test_the_page_stands_alone_and_says_what_the_numbers_say(finished, read_page):
    result = json.loads((finished / "result.json").read_text())
    page = (finished / "report.html").read_text(encoding="utf-8")
    reader = read_page(page)
    assert all(address.startswith("data:") for address in reader.addresses)
    assert "http://" not in page
    assert "https://" not in page
    text = " ".join(reader.text)
    assert words.ILLUSTRATION in text
    assert words.headline(result) in text
    for finding in words.findings(result):
        assert finding.text in text
    assert reader.tags.count("img") == 4


def test_the_numbers_of_the_page_are_those_of_the_json(finished, read_page):
    result = json.loads((finished / "result.json").read_text())
    rows, row = {}, None
    reader = read_page((finished / "report.html").read_text(encoding="utf-8"))
    names = {row[0] for row in demo_page.number_rows(result)}
    for piece in (piece for piece in reader.text if piece.strip()):
        if piece in names and piece not in rows:
            row = rows.setdefault(piece, [])
        elif row is not None and len(row) < 2:
            row.append(piece)
    clean, attacked = result["scans"]["clean"], result["scans"]["attacked"]
    assert rows["rejected as a whole"] == ["no", "yes"]
    assert [float(x) for x in rows["score: share of slices rejected"]] == pytest.approx(
        [clean["score"], attacked["score"]], abs=6e-4
    )
    assert rows["threshold of a slice's score"] == ["2.718", "2.718"]
    assert rows["of those in the attacked slab"] == ["0 of 4", "4 of 4"]
    assert rows["p-value of the scan"] == ["– (needs 19 people)"] * 2
    assert float(rows["Dice in the slab, undefended"][1]) == result["dice"]["slab"]["attacked"]
    assert float(rows["Dice in the slab, reformed"][1]) == result["dice"]["slab"]["attacked_reformed"]
    assert float(rows["Dice of the whole scan, undefended"][1]) == result["dice"]["scan"]["attacked"]


def test_other_numbers_make_another_page(finished, missed):
    for root, verdict, repaired in (
        (finished, "noticed the attack", True),
        (missed, "did not notice the attack", False),
    ):
        page = (root / "report.html").read_text(encoding="utf-8")
        assert f"The shield: it {verdict}." in page
        assert ("it repaired the segmentation" in page) == repaired


def test_the_picture_is_a_png_and_nothing_half_written_stays(finished):
    data = (finished / "figure.png").read_bytes()
    assert struct.unpack(">II", data[16:24]) == (1000, 1420)
    assert not [file for file in finished.iterdir() if file.name.startswith(".")]


def test_the_shown_slice_is_read_from_the_files(folder):
    result = json.loads((folder / "result.json").read_text())
    view = demo_page.shown_slice(folder, result)
    np.testing.assert_allclose(view.clean * 1500, brain(len("clean"))[:, 2])
    assert view.classes == 3


@pytest.mark.parametrize("missing", ["result.json", "attacked.nii.gz", "defended/attacked_seg.nii.gz"])
def test_a_missing_file_is_named(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(FileNotFoundError, match=Path(missing).name):
        render_demo(folder)
    assert not (folder / "report.html").exists()


# ---- numbers


def test_dice_of_the_same_answer_is_one_and_of_none_is_zero():
    reference = np.zeros((4, 4, 4), dtype=np.uint8)
    reference[:2], reference[2:] = 1, 2
    slab = np.zeros_like(reference)
    slab[:, 1:3] = 1
    emptied = np.where(slab > 0, 0, reference)
    found = demo_result.dice_records(reference, {"same": reference, "emptied": emptied}, slab, STRUCTURES)
    assert found["slab"] == {"same": 1.0, "emptied": 0.0}
    assert found["scan"]["same"] == 1.0
    # half of each structure is left: 2 * 16 / (16 + 32)
    assert found["scan"]["emptied"] == pytest.approx(2 / 3)


def test_a_structure_that_is_nowhere_is_left_out_and_a_hallucinated_one_counts_zero():
    reference = np.ones((2, 2, 2), dtype=np.uint8)
    slab = np.ones_like(reference)
    wrong = reference.copy()
    wrong[0] = 2
    found = demo_result.dice_records(reference, {"same": reference, "wrong": wrong}, slab, STRUCTURES)
    assert found["slab"]["same"] == 1.0
    assert found["structures"]["right part"] == {"same": None, "wrong": 0.0}
    assert found["slab"]["wrong"] == pytest.approx((2 * 4 / (4 + 8) + 0) / 2)


def decision(scores, rejected, volume_rejected=False):
    return {
        "rejected": volume_rejected,
        "score": 0.5,
        "threshold": 0.1,
        "p_value": None,
        "reason": "",
        "scored": sum(score is not None for score in scores),
        "slice_scores": scores,
        "slice_p_values": [None if score is None else 0.25 for score in scores],
        "slice_rejected": rejected,
    }


def test_a_scan_record_counts_the_slices_of_the_slab():
    record = demo_result.scan_record(
        decision([None, 1.0, 5.0, 5.0, None], [False, False, True, True, False]),
        [-2.0, -1.0, 0.0, 1.0, 2.0],
        (-1.5, 0.5),
        "x.nii.gz",
    )
    assert [each["slice"] for each in record["slices"]] == [1, 2, 3]
    assert (record["slices_rejected"], record["slices_scored"]) == (2, 3)
    assert (record["slab_slices_rejected"], record["slab_slices_scored"]) == (1, 2)
    assert record["slab_median_p_value"] == 0.25


def test_scores_that_do_not_belong_to_the_slices_are_refused():
    with pytest.raises(ValueError, match="2 scores for 3 slices"):
        demo_result.scan_record(decision([1.0, 1.0], [False, False]), [0.0, 1.0, 2.0], (0, 1), "x.nii.gz")


def test_the_calibration_is_read_from_the_weights(tmp_path):
    calibration = Calibration.fit(torch.arange(40.0), volumes=["a", "b"] * 20, source="here")
    torch.save({"_extra_state": calibration.state()}, tmp_path / "detector.pt")
    record = demo_result.calibration_record(tmp_path / "detector.pt")
    assert record["threshold"] == calibration.threshold == 38.0
    assert (record["slices"], record["persons"]) == (40, 2)
    assert record["persons_needed_for_a_promise_per_person"] == 19
    json.dumps(record, allow_nan=False)


# ---- attack and files


@pytest.fixture
def bare_target():
    """Two classes by a threshold on the intensity: bright is foreground."""
    network = torch.nn.Conv2d(1, 3, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([-20.0, 20.0, 0.0]).reshape(3, 1, 1, 1))
        network.bias.copy_(torch.tensor([10.0, -10.0, -30.0]))
    steps = [
        LoadImaged("image", image_only=True, ensure_channel_first=True),
        Orientationd("image", axcodes="LAS", labels=None),
        ScaleToWindowd("image"),
        CropForegroundd("image", source_key="image", allow_smaller=True),
        SpatialPadd("image", spatial_size=(16, -1, 16)),
    ]
    return demo_attack.BareTarget(
        network.eval(), Compose(steps), STRUCTURES, (16, 16), AXIS, torch.device("cpu"), batch_size=3
    )


# the same person in the network's own orientation and in another one
@pytest.fixture(
    params=[np.diag([-1.0, 1, 1, 1]), np.array([[0.0, -1, 0, 5], [-1, 0, 0, 7], [0, 0, 1, 9], [0, 0, 0, 1]])]
)
def clean_file(request, tmp_path):
    values = brain() if request.param[0, 0] else brain().transpose(1, 0, 2)[::-1].copy()
    write(tmp_path / "clean.nii.gz", values, request.param)
    return tmp_path / "clean.nii.gz"


def test_an_attack_stays_in_its_slab_in_the_brain_and_in_the_type_of_the_file(bare_target, clean_file):
    image = bare_target.load(clean_file)
    slab = demo_attack.middle_slab(bare_target.slices(image), 4)
    path = clean_file.parent / "attacked.nii.gz"
    record = demo_attack.attack_slab(bare_target, image, DAG.park("background"), slab, clean_file, path)
    clean, attacked = nib.load(clean_file), nib.load(path)
    assert attacked.get_data_dtype() == np.int16
    np.testing.assert_array_equal(attacked.affine, clean.affine)
    changed = np.asarray(attacked.dataobj) != np.asarray(clean.dataobj)
    inside = bare_target.in_file(torch.ones(image.shape, dtype=torch.uint8), image)
    assert changed.any()
    assert not changed[np.asarray(clean.dataobj) == 0].any()
    mark = torch.zeros(image.shape, dtype=torch.uint8)
    mark[:, :, slab.start : slab.stop] = 1
    assert not changed[bare_target.in_file(mark, image) == 0].any()
    assert inside[changed].all()
    assert record["slices"] == 4
    # the attack has what it wants: nothing bright is left to be foreground
    before, after = (bare_target.segment(bare_target.load(file)) for file in (clean_file, path))
    assert (before[changed] == 1).mean() > 0.5
    assert (after[changed] == 1).mean() < 0.1
    json.dumps(record, allow_nan=False)


def test_a_segmentation_lies_on_the_voxels_of_its_file(bare_target, clean_file):
    image = bare_target.load(clean_file)
    label = bare_target.segment(image)
    path = clean_file.parent / "seg" / "label.nii.gz"
    demo_attack.write_label(label, clean_file, path)
    voxels, window = np.asarray(nib.load(clean_file).dataobj), image.meta["intensity_window"]
    np.testing.assert_array_equal(demo_attack.read_voxels(path) == 1, voxels / window[1] > 0.5)
    np.testing.assert_array_equal(nib.load(path).affine, nib.load(clean_file).affine)


def test_slices_know_where_they_lie(bare_target, clean_file):
    image = bare_target.load(clean_file)
    positions = bare_target.positions(image)
    assert np.diff(positions).tolist() == [1.0] * (len(positions) - 1)
    mark = torch.zeros(image.shape, dtype=torch.uint8)
    mark[:, :, 3] = 1
    places = np.argwhere(bare_target.in_file(mark, image))
    world = (nib.load(clean_file).affine @ np.c_[places, np.ones(len(places))].T)[1]
    assert set(world.tolist()) == {positions[3]}


def test_the_slab_lies_in_the_middle_of_the_body():
    slices = torch.zeros(20, 1, 4, 4)
    slices[5:15] = 1
    assert demo_attack.middle_slab(slices, 4) == range(8, 12)
    assert demo_attack.middle_slab(slices, 100) == range(5, 15)


# ---- story


@pytest.fixture
def bundle(tmp_path):
    """A bundle's folder with files in the place of its weights."""
    (tmp_path / "bundle" / "configs").mkdir(parents=True)
    (tmp_path / "bundle" / "configs" / "inference.json").write_text("{}")
    for name in module._WEIGHTS:
        path = tmp_path / "bundle" / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        write_sum(path)
    return tmp_path / "bundle"


def test_missing_and_altered_weights_are_named(bundle):
    Demo("demo", bundle)
    (bundle / "models" / "model.pt").write_bytes(b"altered")
    with pytest.raises(DemoError, match=r"model\.pt.*altered.*--models_dir"):
        Demo("demo", bundle)
    (bundle / "models" / "model.pt").unlink()
    with pytest.raises(DemoError, match=r"model\.pt.*missing"):
        Demo("demo", bundle)
    with pytest.raises(DemoError, match="no bundle"):
        Demo("demo", bundle / "models")


@pytest.mark.parametrize("setting", ["persons", "every_nth_slice", "slices"])
def test_impossible_settings_are_refused(bundle, setting):
    with pytest.raises(ValueError, match="at least 1"):
        Demo("demo", bundle, **{setting: 0})


def test_an_old_result_is_gone_before_anything_new_is_written(bundle, folder, monkeypatch):
    (folder / "report.html").write_text("old")
    (folder / "mine.txt").write_text("keep")
    demo = Demo(folder, bundle)
    monkeypatch.setattr(demo, "_make_people", dict)
    monkeypatch.setattr(demo, "_calibrate", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        demo.run()
    assert not [name for name in ("result.json", "report.html", "figure.png") if (folder / name).exists()]
    assert not (folder / "attacked.nii.gz").exists()
    assert (folder / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize("name", ["demo", "a folder's"])
def test_the_bundle_is_called_as_its_user_would_call_it(bundle, tmp_path, monkeypatch, name):
    called = []

    def run(command, **settings):
        called.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(module.subprocess, "run", run)
    demo = Demo(tmp_path / name, bundle)
    demo._calibrate()
    demo._defend()
    calibrate, defend = called
    assert calibrate[1:5] == ["-m", "monai.bundle", "run", "calibration"]
    assert calibrate[calibrate.index("--run_dir") + 1] == str(tmp_path / name / "calibration")
    assert defend[1:5] == ["-m", "monai.bundle", "run", "run"]
    # a list arrives as a list, whatever the folder is called
    files = fire.parser.DefaultParseValue(defend[defend.index("--dataset_dir") + 1])
    assert files == [str(tmp_path / name / file) for file in ("clean.nii.gz", "attacked.nii.gz")]
    weights = defend[defend.index("--detector_weights") + 1]
    assert weights == str(tmp_path / name / "calibration" / "shield" / "detector.pt")
    # what the page shows can be pasted into a shell
    assert shlex.split(demo.commands[1])[1:] == defend[1:]


def test_a_command_that_fails_ends_the_demo(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(module.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1))
    with pytest.raises(DemoError, match="calibrate"):
        Demo(tmp_path / "demo", bundle)._calibrate()


def test_without_nilearn_the_demo_says_what_to_install(bundle, tmp_path, monkeypatch):
    from monai_shield.data import cohort

    cohort._template.cache_clear()
    monkeypatch.setitem(sys.modules, "nilearn.datasets", None)
    with pytest.raises(ImportError, match=r"monai-shield\[demo\]"):
        Demo(tmp_path / "demo", bundle).run()


# ---- command line


@pytest.mark.parametrize(("command", "word"), [("demo", "--models_dir"), ("report", "--folder"), (None, "report")])
def test_the_command_line_helps(command, word):
    words_ = [sys.executable, "-m", "monai_shield", *([command] if command else []), "--help"]
    done = subprocess.run(words_, capture_output=True, text=True, check=False, env={**os.environ, "PAGER": "cat"})
    assert done.returncode == 0
    assert word in done.stdout + done.stderr


def test_what_a_user_can_mend_ends_in_one_line(tmp_path, monkeypatch):
    from monai_shield.__main__ import main

    monkeypatch.setattr(sys, "argv", ["monai-shield", "report", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"monai-shield: .*result\.json' is missing"):
        main()


def test_report_writes_the_page_anew(folder, capsys):
    from monai_shield.__main__ import report

    assert Path(report(str(folder))).read_text().startswith("<!doctype html>")


def test_report_makes_a_page_of_an_evaluation(tmp_path, read_page):
    from monai_shield.__main__ import report

    interval = {"value": 0.5, "low": 0.25, "high": None}
    ways = ("clean", "attacked", "reformed", "accepted", "rejected_as_zero", "rejected_deferred")
    attack = {
        "auc": {"combined": interval},
        "rejected_attacked": interval,
        "rejected_clean": interval,
        "dice": dict.fromkeys(ways, interval),
        "residual_harm": {"value": None, "low": None, "high": None},
        "linf": 0.1,
        "l2": 2.0,
    }
    results = {
        "volumes": 2,
        "persons": 1,
        "calibration": {"threshold": 1.0, "t_fp": 0.05, "rule": "conformal", "slices": 40, "volumes": 3, "source": "x"},
        "clean": {
            "dice": {"bare": interval},
            "dice_per_structure": {"bare": {"left part": 0.75}},
            "false_positive_rate": interval,
            "false_positive_rate_per_scan": {"a": 0.125, "b": 0.0},
            "volumes_rejected": 0,
        },
        "attacks": {"DAG <raw>": copy.deepcopy(attack)},
        "provenance": {"date": "2026-11-22", "revision": None},
    }
    (tmp_path / "results.json").write_text(json.dumps(results))
    page = Path(report(str(tmp_path))).read_text()
    reader = read_page(page)
    assert not reader.addresses
    assert {"DAG <raw>", "0.750", "–"} <= {piece.strip() for piece in reader.text}
