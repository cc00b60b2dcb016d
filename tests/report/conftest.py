# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
import json

import nibabel as nib
import numpy as np
import pytest

from monai_shield.demo.story import FILES
from monai_shield.report import render_demo, words


class MadeUpDemo:
    """Records and files of a demo that never ran."""

    STRUCTURES = ("left part", "right part")
    AXIS = 1  # of the coronal slices
    SHAPE = (12, 16, 10)

    @staticmethod
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

    @classmethod
    def result(cls, clean=None, attacked=None, damaged=0.2, reformed=0.95, clean_reformed=0.99):
        """The numbers of a demo: by default the attack works, is noticed, and is repaired."""
        dice = {"attacked": damaged, "attacked_reformed": reformed, "clean_reformed": clean_reformed}
        return {
            "what": words.ILLUSTRATION,
            "subject": {"number": 700, "seed": 0},
            "attack": {
                "name": "DAG",
                "target": "background",
                "max_steps": 20,
                "slices": 4,
                "steps": 7.5,
                "largest_change": 0.123,
                "mean_change_where_changed": 0.034,
            },
            "calibration": {
                "threshold": 2.718,
                "t_fp": 0.05,
                "rule": "conformal",
                "slices": 320,
                "subjects": 4,
                "subjects_needed_for_a_promise_per_subject": 19,
                "volume_limit": 0.1,
                "source": "site (val)",
            },
            "scans": {
                "clean": clean or cls.scan(outside=1),
                "attacked": attacked or cls.scan(rejected=True, in_slab=4),
            },
            "dice": {
                "slab": dict(dice),
                "scan": {"attacked": 0.811, "attacked_reformed": 0.955, "clean_reformed": clean_reformed},
                "structures": {name: dict(dice) for name in cls.STRUCTURES},
            },
            "slab_mm": [-0.5, 3.5],
            "shown_slice": {
                "slice": 2,
                "position_mm": 2.0,
                "file_axis": cls.AXIS,
                "file_index": 2,
                "rejected": True,
            },
            "intensity_window": [0.0, 1500.0],
            "spatial_size": [16, 12],
            "files": dict(FILES),
            "commands": ["python -m monai.bundle run calibration --every_nth_slice 2"],
            "seconds": {"subjects": 12.3, "attack": 45.6},
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

    @staticmethod
    def write(path, values, affine=None):
        """Write raw voxels, of a scan in LAS unless the affine says otherwise."""
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(values, np.diag([-1.0, 1, 1, 1]) if affine is None else affine), path)

    @classmethod
    def voxels(cls, seed=0):
        """A bright box in the dark."""
        values = np.zeros(cls.SHAPE, dtype=np.int16)
        values[2:10, 1:15, 2:9] = np.random.default_rng(seed).integers(500, 1500, (8, 14, 7))
        return values

    @classmethod
    def fill(cls, root, result):
        """A demo's folder as it is before picture and page are made."""
        for name, file in result["files"].items():
            label = (cls.voxels() > 0).astype(np.uint8)
            cls.write(root / file, cls.voxels(len(name)) if "," not in name else label)
        (root / "result.json").write_text(json.dumps(result))
        return root


@pytest.fixture(scope="session")
def made_up_demo():
    """Makes the records and files of a demo, see above."""
    return MadeUpDemo


@pytest.fixture
def demo_folder(tmp_path):
    """A demo's folder as it is before picture and page are made."""
    return MadeUpDemo.fill(tmp_path, MadeUpDemo.result())


@pytest.fixture(scope="session")
def finished_demo(tmp_path_factory):
    """A demo's folder with picture and page, to look at only."""
    root = MadeUpDemo.fill(tmp_path_factory.mktemp("demo"), MadeUpDemo.result())
    render_demo(root)
    return root


@pytest.fixture(scope="session")
def missed_demo(tmp_path_factory):
    """Another one, of an attack that went unnoticed and was not repaired."""
    root = MadeUpDemo.fill(tmp_path_factory.mktemp("demo"), MadeUpDemo.result(attacked=MadeUpDemo.scan(), reformed=0.2))
    render_demo(root)
    return root
