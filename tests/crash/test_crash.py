# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The search itself: it strikes where it says, sees what is wrong, and one kill of a real command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

HERE = Path(__file__).parent
WRITING = """
import os, sys
from pathlib import Path
root = Path(sys.argv[1])
with open(root / ".half", "wb") as file:
    file.write(b"x" * 1000)
os.replace(root / ".half", root / "whole")
(root / "more").write_text("y" * 10)
"""


def write(folder: Path, **environment: str) -> int:
    settings = {"PYTHONPATH": str(HERE / "sitecustomize"), "CRASH_ROOT": str(folder)}
    command = [sys.executable, "-c", WRITING, str(folder)]
    return subprocess.run(command, env=os.environ | settings | environment, check=False).returncode


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of the search."""
    monkeypatch.syspath_prepend(str(HERE))
    import compare
    import run

    yield {"compare": compare, "run": run}
    for name in ("compare", "run", "stage", "trials", "world"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("at", "left"),
    [
        (["write", ".half", 1, "before", "KILL"], {".half": 0}),
        (["write", ".half", 1, "half", "KILL"], {".half": 500}),
        (["replace", "whole", 1, "before", "KILL"], {".half": 1000}),
        (["replace", "whole", 1, "after", "KILL"], {"whole": 1000}),
        (["write", "more", 1, "half", "KILL"], {"whole": 1000, "more": 5}),
    ],
)
def test_it_strikes_where_it_says(at: list[Any], left: dict[str, int], tmp_path: Path) -> None:
    assert write(tmp_path, CRASH_AT=json.dumps(at)) == -signal.SIGKILL
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == left


def test_it_counts_what_it_can_strike(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert write(tmp_path / "out", CRASH_COUNT=str(tmp_path / "points")) == 0
    points = [json.loads(line) for line in (tmp_path / "points").read_text().splitlines()]
    assert [(point["kind"], point["path"]) for point in points] == [
        ("write", ".half"),
        ("replace", "whole"),
        ("write", "more"),
    ]


def test_what_is_cut_short_or_differs_is_seen(search: Any, tmp_path: Path) -> None:
    compare = search["compare"]
    values = np.random.default_rng(0).integers(0, 9, (8, 8, 8)).astype(np.int16)

    def fill(folder: Path, change: int) -> Path:
        folder.mkdir()
        (folder / "a.json").write_text(json.dumps({"value": 1 + change, "seconds": change}))
        (folder / "a.csv").write_text(f"epoch,loss,seconds\n1,{change},{change}\n")
        (folder / "a.md").write_text(f"| a | seconds |\n|---|---|\n| {change} | {change} |\n")
        torch.save({"x": torch.arange(3) + change}, folder / "a.pt")
        nib.save(nib.Nifti1Image(values + np.int16(change), np.eye(4)), folder / "a.nii.gz")
        np.savez(folder / "a.npz", x=np.zeros(3) + change)
        return folder

    one, two, again = (fill(tmp_path / name, change) for name, change in (("1", 0), ("2", 1), ("3", 0)))
    (again / "a.json").write_text(json.dumps({"value": 1, "seconds": 7}))
    assert compare.differences(one, again) == []
    assert compare.broken(one) == []
    assert len(compare.differences(one, two)) == 6
    (one / ".unfinished-1.nii.gz").touch()
    (one / "b.json").write_text("{}")
    assert compare.leftovers(one) == [".unfinished-1.nii.gz"]
    assert compare.differences(one, again) == ["b.json: should not be there"]
    assert compare.differences(again, one) == ["b.json: is missing"]
    for name in ("a.json", "a.pt", "a.nii.gz", "a.npz", "a.csv"):
        whole = (one / name).read_bytes()
        (one / name).write_bytes(whole[: len(whole) // 2])
    assert sorted(line.split(":")[0] for line in compare.broken(one)) == [
        "a.csv",
        "a.json",
        "a.nii.gz",
        "a.npz",
        "a.pt",
    ]


def test_a_plan_is_that_of_its_seed_and_goes_on(search: Any) -> None:
    run = search["run"]
    chosen = run.commands()
    point = {"kind": "write", "path": "disk/out/a", "nth": 1, "seconds": 2.0}
    points = {name: [point, point | {"kind": "replace", "seconds": 3.0}] for name in chosen}
    plan = run.plan(chosen, points, 100, 0)
    assert run.plan(chosen, points, 50, 0) == plan[: len(run.plan(chosen, points, 50, 0))]
    assert run.plan(chosen, points, 100, 1) != plan
    assert sum(len(trial.at) for trial in plan if trial.kind == "kill") in (100, 101)
    assert {trial.kind for trial in plan} == {"kill", "two at once", "full disk", "read-only disk"}
    assert {trial.command for trial in plan if trial.inside} == set(chosen)


def test_one_kill_of_a_real_command(search: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--number", "1", "--command", "calibration", "--output", str(tmp_path)]
    assert search["run"].main(arguments) == 0
    assert "| calibration |" in capsys.readouterr().out
    assert len((tmp_path / "trials_0.jsonl").read_text().splitlines()) == 1
