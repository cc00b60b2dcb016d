# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The demo: one attack on one brain, and what the shield makes of it; no data set, no internet."""

import json
import logging
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from monai_shield.attacks import DAG
from monai_shield.data import cohort_subject, embedded_cohort, slices_of
from monai_shield.errors import UserError
from monai_shield.evaluation import provenance
from monai_shield.report import words
from monai_shield.report.demo_attack import BareTarget, attack_slab, middle_slab, read_voxels, write_label, write_scan
from monai_shield.report.demo_page import FIGURE, PAGE, RESULT, render_demo
from monai_shield.report.demo_result import calibration_record, dice_records, scan_record
from monai_shield.utils import atomic_path, verify_sum

logger = logging.getLogger(__name__)

_WEIGHTS = ("model.pt", "shield/detector.pt", "shield/reformer.pt")
_SCANS = ("clean", "attacked")
#: Name of a file to where it lies in the demo's folder.
_FILES = {
    "clean": "clean.nii.gz",
    "attacked": "attacked.nii.gz",
    "clean, undefended": "undefended/clean_seg.nii.gz",
    "attacked, undefended": "undefended/attacked_seg.nii.gz",
    "clean, reformed": "defended/clean_seg.nii.gz",
    "attacked, reformed": "defended/attacked_seg.nii.gz",
}
#: What else an earlier run may have left.
_LEFT = ("defended/*shield.json", "calibration/shield/*", "site/*.json", "site/volumes/p???_*.nii.gz")
_SUBJECT = 700  # of the embedded cohort: the first of those to test on
_STEPS = 6


class DemoError(UserError):
    """The demo cannot go on, for a reason that its user can do something about."""


class Demo:
    """
    Attack a made-up subject's scan and let a bundle's shield, calibrated for this subject's site, judge and repair it.

    What a real site would do is done by the bundle's own commands, as subprocesses: the calibration on the site's clean
    scans, and the defended inference on files. Everything goes into one folder; running it again overwrites it, and
    ``result.json`` is there only once all that it speaks of is.

    Args:
        output: folder to write to.
        bundle_root: the bundle.
        models_dir: folder of its weights; by default the one the bundle ships with.
        subjects: clean subjects the shield is calibrated on.
        every_nth_slice: of each of them.
        slices: slices to attack, in the middle of the brain.
        seed: of the subjects.
        attack: how to attack; by default DAG as Park et al. used it.

    Raises:
        ValueError: for no subjects or no slices.
        DemoError: where the bundle or its weights are missing, or weights were altered.
    """

    def __init__(
        self,
        output: str | Path,
        bundle_root: str | Path,
        models_dir: str | Path | None = None,
        subjects: int = 4,
        every_nth_slice: int = 4,
        slices: int = 24,
        seed: int = 0,
        attack: DAG | None = None,
    ) -> None:
        if min(subjects, every_nth_slice, slices) < 1:
            raise ValueError("subjects, every_nth_slice and slices must be at least 1.")
        self.output = Path(output).resolve()
        self.configs = Path(bundle_root).resolve() / "configs"
        self.models_dir = Path(models_dir or Path(bundle_root) / "models").resolve()
        self.subjects = subjects
        self.every_nth_slice = every_nth_slice
        self.slices = slices
        self.seed = seed
        self.attack = attack or DAG.park("background")
        self.files = {name: self.output / file for name, file in _FILES.items()}
        self.detector_weights = self.output / "calibration" / "shield" / "detector.pt"
        self.seconds: dict[str, float] = {}
        self.commands: list[str] = []
        self._check()

    def run(self) -> dict[str, Any]:
        """The story, from beginning to end; returns the content of ``result.json``."""
        self._clear()
        with self._step("subjects", f"making {self.subjects + 1} subjects out of the MNI152 template"):
            subject = self._make_subjects()
        with self._step("calibration", f"calibrating the shield on {self.subjects} clean subjects, as a site would"):
            self._calibrate()
        with self._step("attack", f"attacking {self.slices} slices: {self.attack.info.name}, {self.attack.target}"):
            target = BareTarget.open(self.configs / "inference.json", self.models_dir)
            images = {"clean": target.load(self.files["clean"])}
            slab = middle_slab(target.slices(images["clean"]), self.slices)
            attack = attack_slab(
                target, images["clean"], self.attack, slab, self.files["clean"], self.files["attacked"]
            )
        with self._step("undefended", "segmenting both scans without the shield"):
            images["attacked"] = target.load(self.files["attacked"])
            for name in _SCANS:
                label = target.segment(images[name], f"{name} scan")
                write_label(label, self.files[name], self.files[f"{name}, undefended"])
        with self._step("defended", "segmenting both scans behind the shield"):
            self._defend()
        with self._step("report", "putting numbers, pictures and page together"):
            result = self._measure(target, images, slab)
            if result["dice"]["slab"]["attacked"] is None:
                raise DemoError("the target finds no structure in the slab: there was nothing to attack.")
            result |= {"subject": subject, "attack": attack, "commands": self.commands, "seconds": dict(self.seconds)}
            result["provenance"] = provenance(target.device, seed=self.seed)
            with atomic_path(self.output / RESULT) as temporary:
                temporary.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
            render_demo(self.output)
        logger.info("done in %.0f s.", sum(self.seconds.values()))
        return result

    def _check(self) -> None:
        if not (self.configs / "inference.json").is_file():
            raise DemoError(f"no bundle in '{self.configs.parent}': run the demo inside the repository.")
        for name in _WEIGHTS:
            try:
                verify_sum(self.models_dir / name)
            except (FileNotFoundError, ValueError) as error:
                raise DemoError(
                    f"{error} The demo needs the trained weights {', '.join(_WEIGHTS)} with their SHA256SUMS in "
                    f"'{self.models_dir}'; name another folder with --models_dir."
                ) from error

    def _clear(self) -> None:
        """Remove what an earlier run left, the page first, so that no old number stands beside a new file."""
        written = [self.output / name for name in (PAGE, FIGURE, RESULT)]
        left = [file for pattern in _LEFT for file in self.output.glob(pattern)]
        for file in (*written, *self.files.values(), *left):
            file.unlink(missing_ok=True)
        self.output.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def _step(self, name: str, words: str) -> Iterator[None]:
        logger.info("[%d/%d] %s", len(self.seconds) + 1, _STEPS, words)
        start = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - start, 1)

    def _make_subjects(self) -> dict[str, Any]:
        """One subject who is to be attacked, and a site of other, clean subjects."""
        write_scan(cohort_subject(_SUBJECT, self.seed)["image"], self.files["clean"])
        embedded_cohort(self.output / "site", train=0, val=self.subjects, test=0, seed=self.seed)
        return {"number": _SUBJECT, "seed": self.seed}

    def _calibrate(self) -> None:
        self._bundle(
            "calibration",
            "calibrate.json",
            dataset_dir=self.output / "site",
            run_dir=self.output / "calibration",
            split="all",
            every_nth_slice=self.every_nth_slice,
            models_dir=self.models_dir,
        )

    def _defend(self) -> None:
        """Both files through the shielded bundle, which flags what it rejects and keeps the answer."""
        folder = self.output / "defended"
        self._bundle(
            "run",
            "inference.json",
            dataset_dir=[str(self.files[name]) for name in _SCANS],
            output_dir=folder,
            models_dir=self.models_dir,
            detector_weights=self.detector_weights,
            on_reject="keep",
        )

    def _bundle(self, run_id: str, config: str, **overrides: Any) -> None:
        """
        Run a bundle's command as its user would; its log and its progress bars show through.

        Raises:
            DemoError: where it fails.
        """
        words = ["-m", "monai.bundle", "run", run_id, "--config_file", str(self.configs / config)]
        for key, value in overrides.items():
            words += [f"--{key}", repr(value) if isinstance(value, list) else str(value)]
        self.commands.append(shlex.join(["python", *words]))
        logger.info("      %s", self.commands[-1])
        # the log and the bars of a bundle go to stderr; stdout stays free for the closing words
        done = subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            raise DemoError(f"the bundle's command failed ({done.returncode}), see above: {self.commands[-1]}")

    def _measure(self, target: BareTarget, images: Mapping[str, MetaTensor], slab: range) -> dict[str, Any]:
        """What the files hold, in numbers."""
        clean = images["clean"]
        positions = {name: target.positions(image) for name, image in images.items()}
        ends = sorted(positions["clean"][index] for index in (slab.start, slab.stop - 1))
        half = abs(positions["clean"][1] - positions["clean"][0]) / 2
        slab_mm = (ends[0] - half, ends[1] + half)
        scans = {}
        for name in _SCANS:
            decision = json.loads((self.output / "defended" / f"{name}_shield.json").read_text())
            scans[name] = scan_record(decision, positions[name], slab_mm, _FILES[name])
        reference = read_voxels(self.files["clean, undefended"])
        answers = {
            "attacked": read_voxels(self.files["attacked, undefended"]),
            "attacked_reformed": read_voxels(self.files["attacked, reformed"]),
            "clean_reformed": read_voxels(self.files["clean, reformed"]),
        }
        middle = (slab.start + slab.stop) // 2
        return {
            "what": words.ILLUSTRATION,
            "calibration": calibration_record(self.detector_weights),
            "scans": scans,
            "dice": dice_records(reference, answers, _marked(target, clean, slab), target.structures),
            "slab_mm": list(slab_mm),
            "shown_slice": _shown(target, clean, middle, positions["clean"][middle], scans["attacked"]["slices"]),
            "intensity_window": list(clean.meta["intensity_window"]),
            "spatial_size": list(target.spatial_size),
            "files": dict(_FILES),
        }


def closing_words(result: Mapping[str, Any], folder: str | Path) -> str:
    """What happened and where the files are, for the end of a terminal."""
    files = {
        PAGE: "the page: open it in a browser",
        FIGURE: "the pictures",
        RESULT: "the numbers",
        _FILES["attacked"]: "the attacked scan; the clean one is beside it",
        "undefended, defended": "the segmentations, NIfTI",
    }
    return words.closing_words(result, {str(Path(folder) / file): what for file, what in files.items()})


def _marked(target: BareTarget, image: MetaTensor, slab: range) -> np.ndarray:
    """1 inside the slab, in the space of the file."""
    mark = torch.zeros(image.shape, dtype=torch.uint8)
    slices_of(mark, target.slice_axis)[slab.start : slab.stop] = 1
    return target.in_file(mark, image)


def _shown(target: BareTarget, image: MetaTensor, index: int, position: float, slices: Any) -> dict[str, Any]:
    """Which slice the pictures show, in the scan as the network sees it and in the file."""
    places = np.argwhere(_marked(target, image, range(index, index + 1)))
    file_axis = int(np.argmin(np.ptp(places, axis=0)))
    decided = [each["rejected"] for each in slices if each["position_mm"] == position]
    return {
        "slice": index,
        "position_mm": position,
        "file_axis": file_axis,
        "file_index": int(places[0, file_axis]),
        "rejected": decided[0] if decided else None,
    }
