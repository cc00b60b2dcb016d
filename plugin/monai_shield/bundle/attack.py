# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Attack any MONAI bundle's network on files, through the bundle's own preprocessing and back to the file."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor

from monai_shield.attacks import Attack, MultiLabel
from monai_shield.bundle.attack_measures import dice_record, size_record, success_record
from monai_shield.bundle.attack_table import draw_figure, write_table
from monai_shield.bundle.attacked_file import attack_file, bearing_cases
from monai_shield.bundle.each_file import Record, for_each_file, sweep
from monai_shield.bundle.grid import load_grid, on_grid, world_axis
from monai_shield.bundle.target import BundleTarget
from monai_shield.command_line import AttackScope, file_stem
from monai_shield.errors import BundleError
from monai_shield.fingerprints import fingerprint_of, stable_repr
from monai_shield.locks import one_run
from monai_shield.transforms import PreprocessedFile, border_background, intensity_window, write_nifti
from monai_shield.utils import sha256, write_json

SUMMARIES = ("results.json", "table.csv", "figure.png")
RECORD_VERSION = 2  # of what is written; another one is made anew


class BundleAttack:
    """
    Attack a bundle's network on files: through the bundle's preprocessing, back to the file, and read in again.

    For each file it writes ``<name>_attacked.nii[.gz]`` (of the file's own type and header, see
    :func:`~monai_shield.transforms.export_attack`), the network's answers before and after,
    ``<name>_clean_seg.nii.gz`` and ``<name>_attacked_seg.nii.gz``, and last ``<name>_attack.json``; for all of them
    ``results.json``, ``table.csv`` and ``figure.png``. A file whose result is there, made with the same attack,
    weights, preprocessing, file and label, is not attacked again: a run that was killed goes on.

    The unit of a budget is the clean image's intensity window (:func:`~monai_shield.transforms.intensity_window`),
    measured on the whole preprocessed image. Attacked are pixels of the foreground: what the bundle's config declares
    as such, else where the file's voxels are not its background. Slices are attacked one by one, each as an image of
    its own. "flipped" is the share of attacked pixels no longer predicted as their label (by a targeted PGD: predicted
    as it wants), "read_back" what is left of it once the attacked file went through the whole preprocessing. Dice is
    per structure on the stacked attacked slices, or the whole volume, in the network's space.

    Args:
        target: the bundle.
        attack: how; its ``window`` is set for each image.
        files: the files, and the label of each or None for the network's own prediction on the clean file.
        output_dir: folder to write to.
        scope: which part of a file is attacked.

    Raises:
        BundleError: for a number of slices where the bundle does not cut volumes into slices.
    """

    def __init__(
        self,
        target: BundleTarget,
        attack: Attack,
        files: Mapping[Path, Path | None],
        output_dir: str | Path,
        scope: AttackScope | None = None,
    ) -> None:
        self.scope = scope or AttackScope()
        if self.scope.slices is not None and target.slice_axis is None:
            raise BundleError(f"slices: the inferer of {target.name} does not cut volumes into slices.")
        self.target = target
        self.attack = attack
        self.files = dict(files)
        self.output_dir = Path(output_dir)

    def run(self) -> list[Record]:
        """
        Attack every file; returns, and writes, one record a file.

        Raises:
            RefusedError: where another process attacks into the same folder.
        """
        with one_run(self.output_dir):
            for name in SUMMARIES:  # of files that may be about to change
                (self.output_dir / name).unlink(missing_ok=True)
            sweep(self.output_dir)
            records = for_each_file(self.files, "attacking", self._cached)
            for record in records:
                record.pop("fingerprint", None)
            write_json(records, self.output_dir / "results.json")
            write_table(records, self.output_dir / "table.csv")
            done = [record for record in records if record["status"] == "done"]
            if done:
                outputs = [self._outputs(Path(record["file"])) for record in done]
                title = f"{self.attack.info.name} on {self.target.name}"
                draw_figure(done, outputs, title, self.output_dir / "figure.png")
        return records

    def _cached(self, file: Path) -> Record:
        path = self.output_dir / f"{file_stem(file)}_attack.json"
        label = self.files[file]
        sums = [None if each is None else sha256(each) for each in (file, label)]
        fingerprint = fingerprint_of([RECORD_VERSION, self.target.fingerprint, self.attack, self.scope, *sums])
        if path.is_file():
            record = json.loads(path.read_text())
            if record.get("fingerprint") == fingerprint and all(each.is_file() for each in self._outputs(file)):
                return record
        for old in (path, *self._outputs(file)):  # the record first: it is not that of what comes beside it
            old.unlink(missing_ok=True)
        record = {"file": str(file), "status": "done", "fingerprint": fingerprint, **self._make(file, label)}
        write_json(record, path)
        return record

    def _outputs(self, file: Path) -> tuple[Path, Path, Path]:
        """Attacked file, clean prediction, prediction on the attacked file."""
        stem = file_stem(file)
        names = (f"{stem}_attacked{file.name.removeprefix(stem)}", f"{stem}_clean_seg.nii.gz")
        return self.output_dir / names[0], self.output_dir / names[1], self.output_dir / f"{stem}_attacked_seg.nii.gz"

    def _make(self, file: Path, label_file: Path | None) -> Record:
        start = time.perf_counter()
        target, (attacked_file, *label_files) = self.target, self._outputs(file)
        clean, loaded = PreprocessedFile(file, target.preprocessing), load_grid(file)
        image = clean.image.as_tensor().float()
        background = self.scope.background
        if background == "border":
            background = border_background(clean.values())
        mask = self._foreground(clean.image, loaded, background)
        before, classes = target.predict(image)
        label = before if label_file is None else self._label(label_file, clean.image, classes)
        low, high = intensity_window(image)
        attack = replace(self.attack, window=high - low)
        cases = bearing_cases(target, mask, image, self.scope.slices)
        attacked = attack_file(target, attack, clean, attacked_file, label, mask, cases, background)
        answers = ((before, clean.image), (attacked.prediction, attacked.image))
        for (prediction, grid), path in zip(answers, label_files):
            self._write_label(on_grid(prediction, grid, loaded), classes, file, path)
        after = on_grid(attacked.prediction, attacked.image, clean.image)
        scale, offset = float(clean.scale[0]), float(clean.offset[0])
        return {
            "bundle": target.name,
            "attack": attack.info.name,
            "settings": stable_repr(self.attack),
            "label": None if label_file is None else str(label_file),
            "background": background,
            "window": high - low,
            "window_in_file": sorted((end - offset) / scale for end in (low, high)),  # of its first channel
            "slice_axis": target.slice_axis,
            "slices": None if target.slice_axis is None else cases.tolist(),
            "world_axis": world_axis(clean.image, target.slice_axis),
            **success_record(attack, attacked.batches, target.cases(after)),
            **dice_record(target, attacked.batches, target.cases(before), classes, "clean"),
            **dice_record(target, attacked.batches, target.cases(after), classes, "attacked"),
            **size_record(attacked.batches, clean, attacked_file, high - low),
            "seconds": time.perf_counter() - start,
        }

    def _foreground(self, image: MetaTensor, loaded: MetaTensor, background: float | str | None) -> torch.Tensor | None:
        """The foreground of a preprocessed image, (1,spatial); None where all of it is."""
        if self.target.foreground is not None:
            return self.target.foreground(image.as_tensor()[None])
        if background is not None:
            there = loaded.as_tensor().ne(float(background)).any(0, keepdim=True)
            return on_grid(there, loaded, image) > 0
        if self.attack.confine_to_mask:
            raise BundleError("confine_to_mask: the file has no background, give its value.")
        return None

    def _label(self, file: Path, like: MetaTensor, classes: int) -> torch.Tensor:
        """A label file in the network's space, (1,spatial)."""
        loaded = load_grid(file)
        channels = classes.bit_length() - 1 if self.target.multi_label else 1
        if len(loaded) != channels:
            raise BundleError(f"label '{file}' has {len(loaded)} channels; expected {channels}.")
        placed = torch.cat([on_grid(channel[None], loaded, like) for channel in loaded])
        return MultiLabel.encode(placed[None])[0] if self.target.multi_label else placed

    def _write_label(self, label: torch.Tensor, classes: int, file: Path, path: Path) -> None:
        """Write classes (1,spatial), in the file's space, as the bundle has them: one channel for each structure of a
        sigmoid head, in the last axis."""
        values = label[0]
        if self.target.multi_label:
            values = MultiLabel.decode(label[None], classes.bit_length() - 1)[0].movedim(0, -1)
        write_nifti(values.numpy().astype(np.uint8 if classes <= 256 else np.uint16), file, path)
