# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The demo as a whole, on a tiny bundle and small brains, and its command."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.data import MetaTensor

from monai_shield.data import cohort
from monai_shield.demo import run_demo, story
from monai_shield.errors import UserError
from monai_shield.report import closing_words
from support.tiny_bundle import LAS, brain_values, noisy, write_nifti

SLICES = 3


def small_subject(number: int, seed: int) -> dict[str, MetaTensor]:
    return {"image": MetaTensor(brain_values(seed).astype(np.int16)[None], affine=LAS)}


def small_site(folder: Path, train: int, val: int, test: int, seed: int) -> None:
    """The brain that is attacked, and one with noise: a calibration on them rejects nothing of the first."""
    (folder / "volumes").mkdir(parents=True)
    for name, values in (("p500", brain_values(seed)), ("p501", noisy(brain_values(1), 20, 100))):
        write_nifti(folder / "volumes" / f"{name}_SS.nii.gz", values)
    (folder / "splits.json").write_text(json.dumps({"official": {"train": [], "val": ["p500", "p501"], "test": []}}))


@pytest.fixture(scope="module")
def told(tiny_bundle, tmp_path_factory):
    """A demo's folder and its result."""
    folder = tmp_path_factory.mktemp("told") / "a folder's"
    folder.mkdir()
    (folder / "mine.txt").write_text("keep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(story, "cohort_subject", small_subject)
        patch.setattr(story, "embedded_cohort", small_site)
        return folder, run_demo(folder, tiny_bundle, slices=SLICES, trust=True)


def voxels(folder: Path, name: str) -> np.ndarray:
    return np.asarray(nib.load(folder / story.FILES[name]).dataobj)


def test_the_attack_stays_in_its_slab_and_in_the_brain_and_in_the_type_of_the_file(told):
    folder, result = told
    clean, attacked = (nib.load(folder / story.FILES[name]) for name in ("clean", "attacked"))
    assert attacked.get_data_dtype() == np.int16
    np.testing.assert_array_equal(attacked.affine, clean.affine)
    changed = voxels(folder, "clean") != voxels(folder, "attacked")
    assert not changed[voxels(folder, "clean") == 0].any()
    planes = np.flatnonzero(changed.any(axis=(0, 2)))
    assert len(planes) == result["attack"]["slices"] == SLICES
    first, last = (nib.affines.apply_affine(clean.affine, [0, plane, 0])[1] for plane in planes[[0, -1]])
    assert result["slab_mm"] == [first - 0.5, last + 0.5]
    # the slab is in the middle of the brain
    bearing = np.flatnonzero((voxels(folder, "clean") > 0).mean(axis=(0, 2)) > 0.02)
    assert abs(planes.mean() - bearing.mean()) <= 1
    assert result["shown_slice"]["file_index"] == planes[1]
    assert result["shown_slice"]["file_axis"] == 1


def test_the_numbers_are_those_of_the_files(told):
    folder, result = told
    assert json.loads((folder / "result.json").read_text()) == result
    low, high = result["intensity_window"]
    change = np.abs(voxels(folder, "attacked") - voxels(folder, "clean").astype(float)) / (high - low)
    assert result["attack"]["largest_change"] == pytest.approx(change.max())
    before, after = (voxels(folder, f"{name}, undefended") for name in ("clean", "attacked"))
    flipped = (before != after)[change > 0]
    assert result["dice"]["slab"]["attacked"] < result["dice"]["scan"]["attacked"] < 1
    assert flipped.mean() > 0.5
    for name in ("clean", "attacked"):
        decision = json.loads((folder / "defended" / f"{name}_shield.json").read_text())
        assert result["scans"][name]["rejected"] == decision["rejected"]
        assert result["scans"][name]["slab_slices_scored"] == SLICES
    assert result["calibration"]["subjects"] == 2
    assert not result["scans"]["clean"]["slab_slices_rejected"]


def test_every_file_is_there_and_told_of(told):
    folder, result = told
    assert all((folder / file).is_file() for file in result["files"].values())
    said = closing_words(result, folder)
    assert all(str(folder / name) in said for name in ("report.html", "figure.png", "result.json"))
    assert (folder / "mine.txt").read_text() == "keep"


def test_the_commands_can_be_pasted_into_a_shell(told, tmp_path):
    folder, result = told
    calibrating, defending = result["commands"]
    assert "--run_dir" in calibrating
    python, *arguments = shlex.split(defending)
    assert python == "python"
    arguments[arguments.index("--output_dir") + 1] = str(tmp_path / "again")
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    again = (tmp_path / "again" / "attacked_shield.json").read_text()
    assert again == (folder / "defended" / "attacked_shield.json").read_text()


def test_an_old_result_is_gone_before_anything_new_is_written(told, tiny_bundle, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(told[0], folder)

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(story, "cohort_subject", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_demo(folder, tiny_bundle, trust=True)
    results = ("result.json", "report.html", "figure.png", *story.FILES.values())
    assert not [name for name in results if (folder / name).exists()]
    assert (folder / "mine.txt").read_text() == "keep"


def test_missing_and_altered_weights_are_named(tiny_repository):
    bundle = tiny_repository / "bundles" / "brain_mri_shield"
    weights = bundle / "models" / "model.pt"
    weights.write_bytes(b"altered")
    with pytest.raises(UserError, match=r"model\.pt.*altered.*--models_dir"):
        run_demo("demo", bundle, trust=True)
    weights.unlink()
    with pytest.raises(UserError, match=r"model\.pt.*missing"):
        run_demo("demo", bundle, trust=True)
    with pytest.raises(UserError, match="no bundle"):
        run_demo("demo", bundle / "models", trust=True)
    assert not Path("demo").exists()


@pytest.mark.parametrize("setting", ["subjects", "every_nth_slice", "slices"])
def test_impossible_settings_are_refused_from_python_too(setting, tiny_bundle, tmp_path):
    with pytest.raises(UserError, match=f"{setting} must be a whole number"):
        run_demo(tmp_path / "demo", tiny_bundle, **{setting: 0}, trust=True)


def test_a_bundle_that_is_not_trusted_is_not_run(tiny_bundle, tmp_path):
    with pytest.raises(UserError, match="--trust"):
        run_demo(tmp_path / "demo", tiny_bundle)
    assert not (tmp_path / "demo").exists()


def test_without_nilearn_the_demo_says_what_to_install(tiny_bundle, tmp_path, monkeypatch):
    cohort._template.cache_clear()
    monkeypatch.setitem(sys.modules, "nilearn.datasets", None)
    with pytest.raises(ImportError, match=r"monai-shield\[demo\]"):
        run_demo(tmp_path / "demo", tiny_bundle, trust=True)


@pytest.mark.parametrize("setting", ["--subjects=0", "--every_nth_slice=0", "--slices=0", "--slices=1.5", "--seed=-1"])
def test_impossible_settings_end_in_one_line(setting, tmp_path, monkeypatch):
    from monai_shield.__main__ import main

    monkeypatch.setattr(sys, "argv", ["monai-shield", "demo", "--output", str(tmp_path / "demo"), setting])
    with pytest.raises(
        SystemExit, match=rf"^monai-shield: {setting[2:].split('=')[0]} must be a whole number.*$"
    ) as end:
        main()
    assert "\n" not in str(end.value)
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(("command", "word"), [("demo", "--models_dir"), ("report", "--folder"), (None, "report")])
def test_the_command_line_helps(command, word):
    words = [sys.executable, "-m", "monai_shield", *([command] if command else []), "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "PAGER": "cat"})
    assert done.returncode == 0
    assert word in done.stdout + done.stderr
