# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A study of defenses by its config, from the command line: two processes write what one writes."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reproduction.tables import TABLES

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "studies" / "paper_smoke.json"
ONLY = {
    "targets": ["UNet"],
    "attacks": ["DAG A", "PGD 4/255"],
    "detectors": ["UNet spatial", "UNet shifted"],
    "baseline_detectors": ["radial log power, Mahalanobis", "prediction consistency"],
    "reformers": ["UNet"],
}


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


@pytest.fixture
def config(brain_folder: Path, tmp_path: Path) -> Path:
    """What is laid over the smoke test: a few of its parts, on small brains."""
    overlay = {
        "dataset_dir": str(brain_folder),
        "label_map": {"dark": [1], "middle": [2], "bright": [3]},
        "spatial_size": [48, 48],
        "seeds": 2,
        "only": ONLY,
    }
    path = tmp_path / "overlay.json"
    path.write_text(json.dumps(overlay))
    return path


def start(config: Path, folder: Path, launcher: list[str], place: Path = ROOT) -> subprocess.Popen[str]:
    arguments = ["-m", "monai.bundle", "run", "study", "--config_file", f"['{CONFIG}','{config}']"]
    plugin = os.pathsep.join([str(ROOT / "plugin"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, *launcher, *arguments, "--run_dir", str(folder)],
        cwd=place,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": plugin, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_processes_write_what_one_writes(config: Path, tmp_path: Path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    runs = {"one": [], "two": torchrun}
    # the configs find each other from anywhere
    places = {"one": tmp_path, "two": ROOT}
    processes = {name: start(config, tmp_path / name, launcher, places[name]) for name, launcher in runs.items()}
    shown = {name: process.communicate(timeout=500)[0] for name, process in processes.items()}
    for name, process in processes.items():
        assert process.returncode == 0, shown[name][-3000:]
    found = {}
    for name in runs:
        folder = tmp_path / name
        found[name] = json.loads((folder / "results.json").read_text(), parse_constant=refuse)
        assert found[name].pop("provenance")["processes"] == (1 if name == "one" else 2)
        text = (folder / "results.md").read_text()
        assert text in shown[name]
        for table in TABLES:
            with (folder / f"{table}.csv").open(newline="") as file:
                assert len(list(csv.DictReader(file))) == len(found[name][table])
    assert found["one"] == found["two"]
    assert (tmp_path / "one" / "results.md").read_text() == (tmp_path / "two" / "results.md").read_text()
    with np.load(tmp_path / "one" / "spectra.npz") as one, np.load(tmp_path / "two" / "spectra.npz") as two:
        assert {"radial clean", "spectrum DAG A, exported", "perturbation PGD 4/255, raw"} < set(one)
        assert set(one) == set(two)
        assert all(np.array_equal(one[key], two[key], equal_nan=True) for key in one)
    # nothing but results, cells and claims is left behind
    left = {path.suffix for path in (tmp_path / "two").rglob("*") if path.is_file() and path.name != ".lock"}
    assert left == {".json", ".md", ".csv", ".npz", ".pt", ".done", ""}
