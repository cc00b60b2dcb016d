# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The demo as a whole, and the command line."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import fire.parser
import pytest

from monai_shield.report import Demo, DemoError
from monai_shield.report import demo as module
from monai_shield.utils import write_sum


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


@pytest.mark.parametrize("setting", ["subjects", "every_nth_slice", "slices"])
def test_impossible_settings_are_refused(bundle, setting):
    with pytest.raises(ValueError, match="at least 1"):
        Demo("demo", bundle, **{setting: 0})


def test_an_old_result_is_gone_before_anything_new_is_written(bundle, demo_folder, monkeypatch):
    (demo_folder / "report.html").write_text("old")
    (demo_folder / "mine.txt").write_text("keep")
    demo = Demo(demo_folder, bundle)
    monkeypatch.setattr(demo, "_make_subjects", dict)
    monkeypatch.setattr(demo, "_calibrate", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        demo.run()
    assert not [name for name in ("result.json", "report.html", "figure.png") if (demo_folder / name).exists()]
    assert not (demo_folder / "attacked.nii.gz").exists()
    assert (demo_folder / "mine.txt").read_text() == "keep"


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


def test_report_writes_the_page_anew(demo_folder, capsys):
    from monai_shield.__main__ import report

    assert Path(report(str(demo_folder))).read_text().startswith("<!doctype html>")
