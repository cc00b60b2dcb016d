# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The command line as its user sees it: in a process of its own, in which whoever imports torch fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import monai_shield

PLUGIN = Path(monai_shield.__file__).parents[1]


@pytest.fixture
def run(tmp_path):
    """Runs a command in a folder with a bundle, two scans and no torch; returns exit status and what was said."""
    (tmp_path / "bundle" / "configs").mkdir(parents=True)
    (tmp_path / "bundle" / "configs" / "inference.json").write_text("{}")
    (tmp_path / "scans").mkdir()
    for name in ("scans/a.nii", "scans/b.nii.gz", "photo.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "none").mkdir()
    for name in ("torch", "monai"):
        (tmp_path / "broken" / name).mkdir(parents=True)
        (tmp_path / "broken" / name / "__init__.py").write_text("raise SystemExit('imported')")

    def command(*words):
        path = os.pathsep.join([str(tmp_path / "broken"), str(PLUGIN)])
        environment = {**os.environ, "PYTHONPATH": path, "PAGER": "cat"}
        line = [sys.executable, "-m", "monai_shield", *words]
        done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return command


def attack(**changes):
    arguments = {"bundle": "bundle", "attack": "pgd", "input": "scans", "output": "out", "epsilon": "4/255", **changes}
    words = [word for name, value in arguments.items() if value is not None for word in (f"--{name}", value)]
    return ["attack", *words]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (attack(attack="dog"), "no attack 'dog'; there are alma_prox, apgd, "),
        (attack(attack="transfer"), "no attack 'transfer'"),
        (attack(epsilon=None), "pgd needs a value for epsilon: --epsilon …"),
        (attack(epsilom="1"), "pgd has no setting 'epsilom'; it has attack_background, "),
        (attack(window="2"), "pgd has no setting 'window'"),
        (attack(epsilon="abc"), "pgd: epsilon must be a number, such as 0.0157 or 4/255, got 'abc'."),
        (attack(epsilon="4/0"), "pgd: epsilon must be a number"),
        (attack(epsilon="1/2/3"), "pgd: epsilon must be a number"),
        (attack(epsilon="True"), "pgd: epsilon must be a number"),
        (attack(epsilon="4"), "Do you mean --epsilon 4/255, that is 0.0157?"),
        (attack(max_steps="2.5"), "pgd: max_steps must be a whole number, got 2.5."),
        (attack(slices="0"), "slices must be a whole number, at least 1, got 0."),
        (attack(slices="few"), "slices must be a whole number, at least 1, got 'few'."),
        (attack(background="black"), "background must be a number, 'border' or None, got 'black'."),
        (attack(input="nowhere.nii"), "no file 'nowhere.nii'."),
        (attack(input="none"), "no NIfTI file in folder 'none'."),
        (attack(input="photo.jpg"), "file 'photo.jpg' is no NIfTI file: only .nii and .nii.gz are supported."),
        (attack(input="2012"), "no file '2012'."),
        (attack(label="nowhere.nii"), "one label 'nowhere.nii' for 2 files"),
        (attack(input="scans/a.nii", label="nowhere.nii"), "no label 'nowhere.nii'."),
        (attack(input="scans/a.nii", label="photo.jpg"), "label 'photo.jpg' is no NIfTI file"),
        (attack(label="none"), "no label 'none/a.nii'."),
        (attack(weights="nowhere.pt"), "weight file 'nowhere.pt' is missing."),
        (attack(bundle="nowhere"), "no bundle in 'nowhere': it has no configs/inference.json or inference.yaml."),
        (attack(), "was not opened, since that runs the code in its configs and scripts. Say --trust"),
        (["demo", "--slices", "0"], "slices must be a whole number, at least 1, got 0."),
        (["demo", "--subjects", "many"], "subjects must be a whole number, at least 1, got 'many'."),
        (["demo", "--seed", "-1"], "seed must be a whole number, at least 0, got -1."),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_argument_is_told_in_one_line_before_torch_is_imported(words, message, run, tmp_path):
    status, said = run(*words)
    assert status == 1
    assert said.startswith("monai-shield: ")
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_right_arguments_come_as_far_as_torch(run):
    for changes in ({}, {"epsilon": "1"}, {"epsilon": "3", "norm": "l2"}, {"input": "scans/a.nii"}, {"slices": "2"}):
        assert run(*attack(**changes), "--trust") == (1, "imported\n")


@pytest.mark.parametrize("words", [["--help"], ["attack", "--help"], ["attack", "--attack", "pgd", "-h"]])
def test_help_is_no_error(words, run):
    status, said = run(*words)
    assert status == 0
    assert "monai-shield" in said
    if words[0] == "attack":
        assert "BUNDLE" in said
        assert "dag: attack_background=False, target='background', step=0.5 / 255" in said


def test_the_version_is_that_of_the_package(run):
    assert run("--version") == (0, f"{monai_shield.__version__}\n")


def test_what_is_read_from_the_source_of_the_attacks_is_what_they_are():
    """Names, settings, which of them need a value, and defaults."""
    from dataclasses import MISSING, fields

    from monai_shield.attacks import ATTACKS
    from monai_shield.command_line import attack_settings
    from monai_shield.command_line.attack_settings import NOT_OFFERED

    found = attack_settings()
    assert set(found) == {name for name, attack in ATTACKS.items() if attack.from_command_line}
    for name, settings in found.items():
        declared = {each.name: each for each in fields(ATTACKS[name]) if each.init and each.name not in NOT_OFFERED}
        assert set(settings) == set(declared), name
        for each in declared.values():
            needed = each.default is MISSING and each.default_factory is MISSING
            assert (settings[each.name].default is None) == needed, (name, each.name)
            if isinstance(each.default, int | float | str):
                assert eval(str(settings[each.name].default)) == each.default, (name, each.name)
