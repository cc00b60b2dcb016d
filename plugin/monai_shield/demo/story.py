# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What the demo does, from a made-up subject to a page; no data set, no internet."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_shield.attacks import DAG
from monai_shield.bundle import BundleTarget, run_bundle
from monai_shield.bundle.attacked_file import attack_file, bearing_cases
from monai_shield.bundle.grid import load_grid, on_grid
from monai_shield.command_line import inference_config, require_trust, whole_number
from monai_shield.data import cohort_subject, embedded_cohort
from monai_shield.demo.numbers import measured
from monai_shield.errors import UserError
from monai_shield.evaluation import provenance
from monai_shield.report import render_demo, words
from monai_shield.report.demo_page import FIGURE, PAGE, RESULT
from monai_shield.transforms import PreprocessedFile, write_nifti
from monai_shield.utils import verify_sum, write_json

logger = logging.getLogger(__name__)

WEIGHTS = ("model.pt", "shield/detector.pt", "shield/reformer.pt")
#: Name of a file to where it lies in the demo's folder.
FILES = {
    "clean": "clean.nii.gz",
    "attacked": "attacked.nii.gz",
    "clean, undefended": "undefended/clean_seg.nii.gz",
    "attacked, undefended": "undefended/attacked_seg.nii.gz",
    "clean, reformed": "defended/clean_seg.nii.gz",
    "attacked, reformed": "defended/attacked_seg.nii.gz",
}
#: What else an earlier run may have left.
LEFT = ("defended/*shield.json", "calibration/shield/*", "site/*.json", "site/volumes/p???_*.nii.gz")
SUBJECT = 700  # of the embedded cohort: the first of those to test on


def run_demo(
    output: str | Path,
    bundle: str | Path,
    models_dir: str | Path | None = None,
    subjects: int = 4,
    every_nth_slice: int = 4,
    slices: int = 24,
    seed: int = 0,
    trust: bool = False,
) -> dict[str, Any]:
    """
    Attack a made-up subject's scan and let a bundle's shield, calibrated for this subject's site, judge and repair it.

    The bundle's own commands calibrate on the site's clean scans and segment behind the shield. Everything goes into
    one folder; running it again overwrites it, and ``result.json`` is there only once all that it speaks of is.

    Args:
        output: folder to write to.
        bundle: folder of the bundle.
        models_dir: folder of its weights; by default the one the bundle ships with.
        subjects: clean subjects the shield is calibrated on.
        every_nth_slice: of each of them.
        slices: slices to attack, in the middle of the brain.
        seed: of the subjects.
        trust: whether to run the bundle's code where it is not one of this repository's.

    Returns:
        the content of ``result.json``.

    Raises:
        UserError: where the bundle or its weights are missing, weights were altered, the bundle is not trusted, or
            there was nothing to attack; for a number that is no whole number or below 1.
    """
    for name, value in {"subjects": subjects, "every_nth_slice": every_nth_slice, "slices": slices}.items():
        whole_number(name, value)
    folder, configs = Path(output).resolve(), inference_config(bundle).parent
    models = Path(models_dir or configs.with_name("models")).resolve()
    _check_weights(models)
    require_trust(bundle, trust)
    files = {name: folder / file for name, file in FILES.items()}
    _clear(folder)
    seconds: dict[str, float] = {}

    with _step(seconds, "subjects", f"making {subjects + 1} subjects out of the MNI152 template"):
        scan = cohort_subject(SUBJECT, seed)["image"]
        write_nifti(scan.as_tensor()[0].numpy(), scan.affine, files["clean"])
        embedded_cohort(folder / "site", train=0, val=subjects, test=0, seed=seed)
    with _step(seconds, "calibration", f"calibrating the shield on {subjects} clean subjects, as a site would"):
        calibrating = run_bundle(
            "calibration",
            configs / "calibrate.json",
            dataset_dir=folder / "site",
            run_dir=folder / "calibration",
            split="all",
            every_nth_slice=every_nth_slice,
            models_dir=models,
        )
    attack = DAG.park("background")
    with _step(seconds, "attack", f"attacking {slices} slices: {attack.info.name}, {attack.target}"):
        target = BundleTarget.open(bundle, weights=models / "model.pt", trust=trust)
        # another memory format changes the last bits, and with them the attack
        target.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        clean = PreprocessedFile(files["clean"], target.preprocessing)
        image = clean.image.as_tensor()
        mask = image > 0
        bearing = bearing_cases(target, mask, image)
        slab = bearing[max(0, (len(bearing) - slices) // 2) :][:slices]
        answer, _ = target.predict(image)
        attacked = attack_file(target, attack, clean, files["attacked"], answer, mask, slab)
        loaded = load_grid(files["clean"])
        for name, label, grid in (
            ("clean", answer, clean.image),
            ("attacked", attacked.prediction, attacked.image),
        ):
            values = on_grid(label, grid, loaded)[0].numpy().astype(np.uint8)
            write_nifti(values, loaded.affine, files[f"{name}, undefended"])
    with _step(seconds, "defended", "segmenting both scans behind the shield"):
        defending = run_bundle(
            "run",
            configs / "inference.json",
            dataset_dir=[str(files["clean"]), str(files["attacked"])],
            output_dir=folder / "defended",
            models_dir=models,
            detector_weights=folder / "calibration" / "shield" / "detector.pt",
            on_reject="keep",
        )
    with _step(seconds, "report", "putting numbers, pictures and page together"):
        result = {
            "what": words.ILLUSTRATION,
            "subject": {"number": SUBJECT, "seed": seed},
            **measured(folder, FILES, target, attack, clean, attacked),
            "files": FILES,
            "commands": [calibrating, defending],
            "seconds": dict(seconds),
            "provenance": provenance(target.device, seed=seed),
        }
        if result["dice"]["slab"]["attacked"] is None:
            raise UserError("the network finds no structure in the slab: there was nothing to attack.")
        write_json(result, folder / RESULT)
        render_demo(folder)
    logger.info("done in %.0f s.", sum(seconds.values()))
    return result


def _check_weights(models: Path) -> None:
    for name in WEIGHTS:
        try:
            verify_sum(models / name)
        except (FileNotFoundError, ValueError) as error:
            raise UserError(
                f"{error} The demo needs the trained weights {', '.join(WEIGHTS)} with their SHA256SUMS in "
                f"'{models}'; name another folder with --models_dir."
            ) from error


def _clear(folder: Path) -> None:
    """Remove what an earlier run left, the page first, so that no old number stands beside a new file."""
    left = [file for pattern in LEFT for file in folder.glob(pattern)]
    for file in (*(folder / name for name in (PAGE, FIGURE, RESULT, *FILES.values())), *left):
        file.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def _step(seconds: dict[str, float], name: str, what: str) -> Iterator[None]:
    """A step of the demo: says what it does, and measures its time."""
    logger.info("[%d/5] %s", len(seconds) + 1, what)
    start = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - start, 1)
