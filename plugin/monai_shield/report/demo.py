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
"""The demo: one attack on one brain, and what the shield makes of it; no data set, no internet."""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from monai_shield.attacks import DAG
from monai_shield.data import embedded_cohort, volume_datalist
from monai_shield.studies.run import provenance
from monai_shield.utils import atomic_path, first_line, verify_sum

from .demo_attack import BareTarget, attack_slab, middle_slab, write_label
from .demo_page import FIGURE, PAGE, RESULT, render_demo
from .demo_result import calibration_record, dice_records, scan_record
from .words import ILLUSTRATION, findings

__all__ = ["Demo", "DemoError", "closing_words"]

logger = logging.getLogger(__name__)

_WEIGHTS = ("model.pt", "shield/detector.pt", "shield/reformer.pt")
_STEPS = 6


class DemoError(RuntimeError):
    """The demo cannot go on, for a reason that its user can do something about."""


class Demo:
    """
    Attack a made-up person's scan and let a bundle's shield, calibrated for this person's site, judge and repair it.

    What a real site would do is done by the bundle's own commands, as subprocesses: the calibration on the site's clean
    scans, and the defended inference on files. Everything goes into one folder; running it again overwrites it, and
    ``result.json`` is there only once all that it speaks of is.

    Args:
        output: folder to write to.
        bundle_root: the bundle.
        models_dir: folder of its weights; by default the one the bundle ships with.
        persons: clean people the shield is calibrated on.
        every_nth_slice: of each of them.
        slices: slices to attack, in the middle of the brain.
        seed: of the people.
        attack: how to attack; DAG as Park et al. used it by default.

    Raises:
        ValueError: for no persons or no slices.
        DemoError: where bundle or weights are missing or altered.
    """

    def __init__(
        self,
        output: str | Path,
        bundle_root: str | Path,
        models_dir: str | Path | None = None,
        persons: int = 4,
        every_nth_slice: int = 2,
        slices: int = 32,
        seed: int = 0,
        attack: DAG | None = None,
    ) -> None:
        if min(persons, every_nth_slice, slices) < 1:
            raise ValueError("persons, every_nth_slice and slices must be at least 1.")
        self.output = Path(output).resolve()
        self.configs = Path(bundle_root).resolve() / "configs"
        self.models_dir = Path(models_dir or Path(bundle_root) / "models").resolve()
        self.persons = persons
        self.every_nth_slice = every_nth_slice
        self.slices = slices
        self.seed = seed
        self.attack = attack or DAG.park("background")
        self.seconds: dict[str, float] = {}
        self.commands: list[str] = []
        self._check()

    def run(self) -> dict[str, Any]:
        """The story, from beginning to end; returns the content of ``result.json``."""
        self._clear()
        with self._step("people", f"making {self.persons + 1} people of the MNI152 template"):
            person = self._make_people()
        with self._step("calibration", f"calibrating the shield on {self.persons} clean people, as a site would"):
            self._calibrate()
        with self._step("attack", f"attacking {self.slices} slices: {self.attack.info.name}, {self.attack.target}"):
            target = BareTarget.open(self.configs / "inference.json", self.models_dir)
            clean = target.load(self._file("clean"))
            slab = middle_slab(target.slices(clean), self.slices)
            attack = attack_slab(target, clean, self.attack, slab, self._file("clean"), self._file("attacked"))
        with self._step("undefended", "segmenting both scans without the shield"):
            attacked = target.load(self._file("attacked"))
            for name, image in (("clean", clean), ("attacked", attacked)):
                label = target.segment(image, f"{name} scan")
                write_label(label, self._file(name), self._file(f"{name}, undefended"))
        with self._step("defended", "segmenting both scans behind the shield"):
            self._defend()
        with self._step("report", "writing numbers, pictures and page"):
            result = self._result(target, {"clean": clean, "attacked": attacked}, slab, attack, person)
            self._write(result)
            render_demo(self.output)
        result["seconds"] = self.seconds
        self._write(result)
        return render_demo(self.output)

    #: name of a file to where it lies in the folder
    files = {  # noqa: RUF012 - a constant
        "clean": "clean.nii.gz",
        "attacked": "attacked.nii.gz",
        "clean, undefended": "undefended/clean_seg.nii.gz",
        "attacked, undefended": "undefended/attacked_seg.nii.gz",
        "clean, reformed": "defended/clean_seg.nii.gz",
        "attacked, reformed": "defended/attacked_seg.nii.gz",
    }
