# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Nothing of a stranger's bundle runs before its user says so."""

import json
import logging
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import monai_shield.command_line.trust as module
from monai_shield.__main__ import attack, demo, main
from monai_shield.bundle import BundleTarget, BundleTrustError, is_own_bundle, make_keys, require_trust, sign_bundle

ROOT = Path(__file__).parents[2]
OWN = ROOT / "bundles" / "brain_mri_shield"

#: Where the code of a bundle can stand: what makes the file of the given path, as a change to its config.
CODE = {
    "the network": lambda path: {"network": f"$__import__('pathlib').Path('{path}').touch()"},
    "the imports": lambda path: {"imports": ["$import scripts.stranger"]},
    "the preprocessing": lambda path: {"preprocessing": {"_target_": "os.mkdir", "path": str(path)}},
    "a module": lambda path: {"inferer": "$__import__('scripts.stranger')"},
}


def make_bundle(root, changes=()):
    """A bundle with one linear network; returns its folder."""
    (root / "configs").mkdir(parents=True)
    config = {
        "imports": [],
        "network": {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 2, "kernel_size": 1},
        "initialize": ["$@network.bias.data.fill_(1.5)"],
        "preprocessing": {"_target_": "Compose", "transforms": []},
        "inferer": {"_target_": "SimpleInferer"},
        **dict(changes),
    }
    (root / "configs" / "inference.json").write_text(json.dumps(config))
    return root


@pytest.fixture(params=CODE)
def trap(request, tmp_path):
    """A bundle whose code leaves a mark as soon as it runs, and that mark."""
    mark = tmp_path / "mark"
    root = make_bundle(tmp_path / "stranger", CODE[request.param](mark).items())
    (root / "scripts").mkdir()
    (root / "scripts" / "__init__.py").touch()
    (root / "scripts" / "stranger.py").write_text(f"__import__('pathlib').Path({str(mark)!r}).touch()\n")
    yield root, mark
    for name in ("scripts", "scripts.stranger"):
        sys.modules.pop(name, None)


@pytest.fixture
def scan(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.int16), np.eye(4)), tmp_path / "scan.nii")
    return tmp_path / "scan.nii"


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of this repository's bundle in a repository of its own, which is the working directory."""
    root = tmp_path / "copy" / "bundles" / "brain_mri_shield"
    shutil.copytree(OWN, root)
    monkeypatch.chdir(tmp_path / "copy")
    return root


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["monai-shield", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return end.code
    return 0


def test_the_command_runs_no_code_of_a_bundle_before_it_is_trusted(trap, scan, tmp_path, monkeypatch):
    root, mark = trap
    words = ["attack", "--bundle", root, "--attack", "pgd", "--epsilon", "0.1", "--input", scan]
    words += ["--output", tmp_path / "out", "--device", "cpu"]
    for refused in ([], ["--trust", "no"], ["--trust", "False"], ["--notrust"], ["--trust", "0"]):
        said = command(monkeypatch, *words, *refused)
        assert not mark.exists()
        assert said.startswith(f"monai-shield: the bundle in '{root}' was not opened")
        assert "--trust" in said
        assert "\n" not in said
        assert not (tmp_path / "out").exists()
    command(monkeypatch, *words, "--trust")  # it ends in an error: these bundles do nothing else
    assert mark.exists()


def test_from_python_nothing_is_opened_by_default(trap):
    root, mark = trap
    with pytest.raises(BundleTrustError, match=str(root)):
        BundleTarget.open(root, "cpu")
    assert not mark.exists()


def test_a_signature_is_another_way_to_be_trusted(scan, tmp_path, monkeypatch):
    root, mark = tmp_path / "signed", tmp_path / "mark"
    make_bundle(root, CODE["the network"](mark).items())
    (private, public), (_, other) = make_keys(tmp_path / "keys"), make_keys(tmp_path / "other")
    sign_bundle(root, private)
    words = ["attack", "--bundle", root, "--attack", "pgd", "--epsilon", "0.1", "--input", scan]
    words += ["--output", tmp_path / "out", "--device", "cpu"]
    said = command(monkeypatch, *words, "--public_key", other)
    assert "was not signed with the key of" in said
    (root / "configs" / "more.json").touch()
    for trust in ([], ["--trust"]):  # who asks for the check gets it
        assert "more.json' was added" in command(monkeypatch, *words, *trust, "--public_key", public)
    assert not mark.exists()
    (root / "configs" / "more.json").unlink()
    command(monkeypatch, *words, "--public_key", public)
    assert mark.exists()


def test_a_trusted_bundle_is_named_in_one_line_and_left_as_it_was(tmp_path, caplog):
    root = make_bundle(tmp_path / "bundle", {"inferer": "$__import__('helper').make()"}.items())
    (root / "helper.py").write_text("import monai\ndef make():\n    return monai.inferers.SimpleInferer()\n")
    private, _ = make_keys(tmp_path / "keys")
    sign_bundle(root, private)
    before = sorted(root.rglob("*"))
    with caplog.at_level(logging.INFO, "monai_shield"):
        BundleTarget.open(root, "cpu", trust=True)
    sys.modules.pop("helper")
    assert [record.message for record in caplog.records] == [f"The code of the bundle in '{root}' runs now."]
    assert sorted(root.rglob("*")) == before  # nothing compiled, which the next check would refuse


def test_this_repository_s_bundles_are_trusted_wherever_one_stands(tmp_path, monkeypatch):
    require_trust(OWN, False)
    monkeypatch.chdir(OWN)
    assert is_own_bundle(".")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(OWN)
    assert is_own_bundle("link")


def test_a_name_or_a_place_beside_makes_no_bundle_this_repository_s(copy, tmp_path):
    assert not is_own_bundle(copy)
    for path in (ROOT, ROOT / "bundles", OWN / "configs", OWN / ".." / "..", ROOT / "tests", tmp_path):
        assert not is_own_bundle(path)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A repository in which the plugin is installed in place."""
    root = tmp_path / "installed"
    file = root / "plugin" / "monai_shield" / "command_line" / "trust.py"
    file.parent.mkdir(parents=True)
    (root / "setup.cfg").touch()
    make_bundle(root / "bundles" / "heart")
    monkeypatch.setattr(module, "__file__", str(file))
    return root


def test_a_link_out_of_the_repository_is_not_trusted(installed, tmp_path):
    bundle = installed / "bundles" / "heart"
    assert is_own_bundle(bundle)
    stranger = make_bundle(tmp_path / "stranger")
    (installed / "bundles" / "lung").symlink_to(stranger)
    assert not is_own_bundle(installed / "bundles" / "lung")
    (bundle / "configs" / "inference.json").unlink()
    (bundle / "configs" / "inference.json").symlink_to(stranger / "configs" / "inference.json")
    assert not is_own_bundle(bundle)


def test_beside_packages_lies_nothing_of_this_repository(installed, monkeypatch):
    (installed / "plugin").rename(installed / "site-packages")
    file = installed / "site-packages" / "monai_shield" / "command_line" / "trust.py"
    monkeypatch.setattr(module, "__file__", str(file))
    assert not is_own_bundle(installed / "bundles" / "heart")


def test_the_demo_takes_the_repository_s_own_bundle(copy, tmp_path, monkeypatch):
    """Also where a folder of the same name is nearer; a copy of the plugin asks."""
    import monai_shield.demo.story as story

    class Begun(Exception):
        """The demo has got as far as its first step."""

    opened = []

    def begin(*_):
        raise Begun

    def require(bundle, trust):
        require_trust(bundle, trust)
        opened.append(Path(bundle))

    monkeypatch.setattr(story, "require_trust", require)
    monkeypatch.setattr(story, "cohort_subject", begin)
    with pytest.raises(Begun):
        demo(str(tmp_path / "demo"))
    assert opened == [OWN]
    elsewhere = tmp_path / "site-packages" / "monai_shield" / "command_line" / "trust.py"
    monkeypatch.setattr(module, "__file__", str(elsewhere))
    with pytest.raises(BundleTrustError, match=str(copy)):
        demo(str(tmp_path / "demo"))
    assert opened == [OWN]
    with pytest.raises(Begun):
        demo(str(tmp_path / "demo"), trust=True)
    assert opened == [OWN, copy]


def test_the_docs_commands_need_no_trust(copy, tmp_path):
    """They attack this repository's bundle, which is opened as it is: the answer is about a scan that is none."""
    (tmp_path / "scan.nii").write_text("no scan")
    settings = {"attack": "dag", "input": str(tmp_path / "scan.nii"), "output": str(tmp_path / "out"), "device": "cpu"}
    with pytest.raises(RuntimeError, match=r"1 of 1 files failed, .*scan\.nii"):
        attack(str(OWN), **settings)
    with pytest.raises(BundleTrustError, match="brain_mri_shield' was not opened"):
        attack(str(copy), **settings)
