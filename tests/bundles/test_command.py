# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A bundle's command in a process of its own."""

import json

import pytest

from monai_shield.bundle import BundleError, bundle_command, run_bundle


def config(folder, **content):
    folder.mkdir(exist_ok=True)
    file = folder / "run.json"
    file.write_text(json.dumps({"imports": ["$import pathlib"], "files": [], "number": 0, **content}))
    return file


def test_what_is_run_is_what_was_said(tmp_path):
    """Also a list, a path with a space in it, and a second config that changes the first."""
    first = config(tmp_path / "a b", write="$[pathlib.Path(@to).write_text(str([@files, @number, @word]))]", word="one")
    second = tmp_path / "second.json"
    second.write_text(json.dumps({"word": "two"}))
    out = tmp_path / "out.txt"
    words = run_bundle("write", [first, second], to=out, files=["x", "it's"], number=3)
    assert out.read_text() == str([["x", "it's"], 3, "two"])
    assert words.startswith("python -m monai.bundle run write --config_file ")
    assert bundle_command("", first)[:4] == ["-m", "monai.bundle", "run", "--config_file"]


def test_a_command_that_fails_is_told_in_one_line(tmp_path):
    with pytest.raises(BundleError, match=r"^the bundle's command failed \(1\), see above: python -m .*$"):
        run_bundle("run", config(tmp_path, run=["$1 / 0"]))
