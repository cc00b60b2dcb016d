# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Attack any MONAI bundle's network on files, through the bundle's own preprocessing and back to the file."""

import csv
import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage, SpatialResample
from torch import nn
from tqdm import tqdm

from monai_shield.attacks import Attack, MultiLabel
from monai_shield.attacks.problem import Problem
from monai_shield.bundle.files import root_cause
from monai_shield.bundle.names import file_stem
from monai_shield.bundle.target import BundleTarget
from monai_shield.data import StandardNibabelReader, evenly_spaced
from monai_shield.errors import BundleError
from monai_shield.locks import one_run
from monai_shield.metrics import dice_of_counts, overlap_counts
from monai_shield.report import AttackedSlice, attack_figure
from monai_shield.transforms import (
    PreprocessedFile,
    border_background,
    export_attack,
    intensity_window,
    read_values,
    write_nifti,
)
from monai_shield.utils import TEMPORARY, atomic_path, sha256

logger = logging.getLogger(__name__)
Record = dict[str, Any]

MIN_FOREGROUND = 0.02  # slices with less are not attacked
ROWS = 4  # files in the figure
SUMMARIES = ("results.json", "table.csv", "figure.png")
RECORD_VERSION = 1  # of what is written; another one is made anew


class BundleAttack:
    """
    Attack a bundle's network on files: through the bundle's preprocessing, back to the file, and read in again.

    For each file it writes ``<name>_attacked.nii[.gz]`` (of the file's own type and header, see
    :func:`~monai_shield.transforms.export_attack`), the network's answers before and after,
    ``<name>_clean_seg.nii.gz`` and ``<name>_attacked_seg.nii.gz``, and last ``<name>_attack.json``; for all of them
    ``results.json``, ``table.csv`` and ``figure.png``. A file whose result is there, made with the same attack,
    weights, preprocessing, file and label, is not attacked again: a run that was killed goes on.

    The unit of a budget is the clean image's intensity window (:func:`~monai_shield.transforms.intensity_window`),
    measured on the whole preprocessed image. Attacked are pixels in the foreground: as the bundle's ``foreground`` says
    or, where it says nothing, where the file's voxels are not its background. Slices are attacked one by one, each as
    an image of its own. "changed" is the share of attacked pixels no longer predicted as their label (by a targeted
    PGD: predicted as it wants), "read_back" what is left of it once the attacked file went through the whole
    preprocessing. Dice is per structure on the stacked attacked slices, or the whole volume, in the network's space.

    Args:
        target: the bundle.
        attack: how; its ``window`` is set for each image.
        files: the files, and the label of each or None for the network's own prediction on the clean file.
        output_dir: folder to write to.
        slices: of a bundle that cuts volumes into slices: how many to attack, evenly spaced; None for all with more
            than 2 % foreground.
        background: value of a file's background, which is restored and which no foreground is; "border" to find it
            (:func:`~monai_shield.transforms.border_background`); None for none.
    """

    def __init__(
        self,
        target: BundleTarget,
        attack: Attack,
        files: Mapping[Path, Path | None],
        output_dir: str | Path,
        slices: int | None = None,
        background: float | str | None = "border",
    ) -> None:
        if slices is not None and (isinstance(slices, bool) or not isinstance(slices, int) or slices < 1):
            raise BundleError(f"slices must be a whole number, at least 1, got {slices!r}.")
        if slices is not None and target.slice_axis is None:
            raise BundleError(f"slices: the inferer of {target.name} does not cut volumes into slices.")
        if isinstance(background, str) and background != "border":
            raise BundleError(f"background must be a number, 'border' or None, got '{background}'.")
        self.target = target
        self.attack = attack
        self.files = dict(files)
        self.output_dir = Path(output_dir)
        self.slices = slices
        self.background = background

    def run(self) -> list[Record]:
        """
        Attack every file; returns, and writes, one record a file.

        Raises:
            RefusedError: where another process attacks into the same folder.
        """
        with one_run(self.output_dir):
            for name in SUMMARIES:  # of files that may be about to change
                (self.output_dir / name).unlink(missing_ok=True)
            for left in self.output_dir.glob(f"{TEMPORARY}*"):
                left.unlink()
            records = []
            with tqdm(self.files.items(), desc="attacking", unit="file") as bar:
                for file, label in bar:
                    bar.set_postfix_str(file_stem(file))
                    records.append(self._cached(file, label))
            self._write_text("results.json", _json([_summary(record) for record in records]))
            self._write_table(records)
            self._draw([record for record in records if record["status"] == "done"])
        return records

    def _cached(self, file: Path, label: Path | None) -> Record:
        path = self.output_dir / f"{file_stem(file)}_attack.json"
        try:
            fingerprint = self._fingerprint(file, label)
            if path.is_file():
                record = json.loads(path.read_text())
                if record.get("fingerprint") == fingerprint and all(each.is_file() for each in self._outputs(file)):
                    return record
            for old in (path, *self._outputs(file)):  # the record first: it is not that of what comes beside it
                old.unlink(missing_ok=True)
            record = {"file": str(file), "status": "done", "fingerprint": fingerprint, **self._make(file, label)}
        except Exception as error:  # whatever fails, fails for this file alone
            reason = root_cause(error)
            logger.error("%s: %s", file, reason)
            logger.debug("", exc_info=error)
            return {"file": str(file), "status": "error", "reason": reason}
        self._write_text(path.name, _json(record))
        return record

    def _fingerprint(self, file: Path, label: Path | None) -> str:
        parts = [
            RECORD_VERSION,
            self.target.fingerprint,
            repr(self.attack),
            self.slices,
            self.background,
            sha256(file),
            None if label is None else sha256(label),
        ]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def _outputs(self, file: Path) -> tuple[Path, Path, Path]:
        """Attacked file, clean prediction, prediction on the attacked file."""
        stem = file_stem(file)
        names = (f"{stem}_attacked{file.name.removeprefix(stem)}", f"{stem}_clean_seg.nii.gz")
        return self.output_dir / names[0], self.output_dir / names[1], self.output_dir / f"{stem}_attacked_seg.nii.gz"

    def _make(self, file: Path, label_file: Path | None) -> Record:
        start = time.perf_counter()
        target = self.target
        attacked_file, clean_seg, attacked_seg = self._outputs(file)
        clean = PreprocessedFile(file, target.preprocessing)
        image = clean.image.as_tensor().float()
        loaded = _load(file)
        background = border_background(clean.values()) if self.background == "border" else self.background
        foreground = None if target.foreground is None else target.foreground(image[None])
        if foreground is None and background is not None:
            foreground = _on_grid(loaded.as_tensor().ne(float(background)).any(0, keepdim=True), loaded, clean.image)
        if foreground is None and self.attack.confine_to_mask:
            raise BundleError("confine_to_mask: the file has no background, give its value.")
        before, classes = target.predict(image)
        label = before if label_file is None else self._label(label_file, clean.image, classes)
        low, high = intensity_window(image)
        attack = replace(self.attack, window=high - low)

        cases, labels = target.cases(image), target.cases(label)
        masks = None if foreground is None else target.cases(foreground > 0)
        chosen = self._chosen(cases, masks)
        perturbation = torch.zeros_like(image)
        batches, results, problems = chosen.split(target.batch_size), [], []
        with _steps_bar(target.network, attack, len(batches)):
            for rows in batches:
                x, y = (each[rows].contiguous().to(target.device) for each in (cases, labels))
                mask = None if masks is None else masks[rows].contiguous().to(target.device)
                index = rows.tolist()
                result = attack(target.network, x, y, mask, index=index)
                problems.append(attack.pose(target.network, x, y, mask, index))
                results.append(result)
                target.cases(perturbation)[rows] = (result.image - x).cpu()

        again = export_attack(perturbation, clean, attacked_file, background)
        after, _ = target.predict(again.as_tensor().float())
        for classes_of_pixels, grid, path in ((before, clean.image, clean_seg), (after, again, attacked_seg)):
            self._write_label(_on_grid(classes_of_pixels, grid, loaded), classes, file, path)
        after_here = target.cases(_on_grid(after, again, clean.image))
        change = np.abs(read_values(attacked_file) - clean.values())
        squares = sum(float(result.norm_l2.square().sum()) for result in results)
        return {
            "bundle": target.name,
            "attack": attack.info.name,
            "settings": repr(self.attack),
            "label": None if label_file is None else str(label_file),
            "background": background,
            "window": high - low,
            "window_in_file": self._window_in_file(clean, low, high),
            "slice_axis": target.slice_axis,
            "slices": chosen.tolist() if target.slice_axis is not None else None,
            "world_axis": _world_axis(clean.image, target.slice_axis),
            "steps": float(torch.cat([result.steps for result in results]).double().mean()),
            **_reached(attack, problems, results, [after_here[rows] for rows in batches]),
            **self._dices(problems, [target.cases(before)[rows] for rows in batches], "clean", classes),
            **self._dices(problems, [after_here[rows] for rows in batches], "attacked", classes),
            "norm_linf": max(float(result.norm_linf.max()) for result in results) / (high - low),
            "norm_l2": math.sqrt(squares) / (high - low),
            "largest_change_in_file": float(change.max()),
            "changed_voxels_in_file": int((change > 0).sum()),
            "seconds": time.perf_counter() - start,
        }

    def _chosen(self, cases: torch.Tensor, masks: torch.Tensor | None) -> torch.Tensor:
        """Indices of the cases to attack."""
        if self.target.slice_axis is None:
            return torch.zeros(1, dtype=torch.long)
        share = torch.ones(len(cases)) if masks is None else masks.float().flatten(1).mean(1)
        bearing = torch.nonzero(share > MIN_FOREGROUND)[:, 0]
        if len(bearing) == 0:
            raise BundleError("no slice bears enough foreground to be attacked.")
        return bearing if self.slices is None else evenly_spaced(bearing, self.slices)

    def _label(self, file: Path, like: MetaTensor, classes: int) -> torch.Tensor:
        """A label file in the network's space, (1,spatial)."""
        loaded = _load(file)
        if self.target.multi_label:
            channels = classes.bit_length() - 1
            if len(loaded) != channels:
                raise BundleError(f"label '{file}' has {len(loaded)} channels; the network has {channels}.")
            placed = torch.cat([_on_grid(channel[None], loaded, like) for channel in loaded])
            return MultiLabel.encode(placed[None])[0]
        if len(loaded) != 1:
            raise BundleError(f"label '{file}' has {len(loaded)} channels; expected 1.")
        return _on_grid(loaded, loaded, like)

    def _write_label(self, label: torch.Tensor, classes: int, file: Path, path: Path) -> None:
        """Write classes (1,spatial), in the file's space, as the bundle has them: one channel for each structure of a
        sigmoid head, in the last axis."""
        values = label[0]
        if self.target.multi_label:
            values = MultiLabel.decode(label[None], classes.bit_length() - 1)[0].movedim(0, -1)
        write_nifti(values.numpy().astype(np.uint8 if classes <= 256 else np.uint16), file, path)

    def _dices(
        self, problems: Sequence[Problem], predictions: Sequence[torch.Tensor], name: str, classes: int
    ) -> Record:
        """Dice of predictions (b,1,spatial) and the labels, per structure and their mean."""
        label = torch.cat([problem.label.cpu().flatten() for problem in problems])[None, None]
        void = torch.cat([problem.void.cpu().flatten() for problem in problems])[None, None]
        prediction = torch.cat([each.flatten() for each in predictions])[None, None].masked_fill(void, 0)
        if self.target.multi_label:
            pair = (MultiLabel.decode(each, classes.bit_length() - 1)[0] for each in (prediction, label))
            counts = torch.cat([overlap_counts(p[None], y[None], 2)[0] for p, y in zip(*pair)])
            numbers = range(len(counts))
        else:
            counts = overlap_counts(prediction, label, classes)[0]
            numbers = range(1, classes)
        dice = dice_of_counts(counts)
        there = dice.isfinite()
        named = {
            self.target.structures.get(number, f"structure {number}"): float(value) if found else None
            for number, value, found in zip(numbers, dice, there)
        }
        mean = float(dice[there].mean()) if bool(there.any()) else None
        return {f"dice_{name}": mean, f"dice_{name}_by_structure": named}

    @staticmethod
    def _window_in_file(clean: PreprocessedFile, low: float, high: float) -> list[float]:
        """The ends of the window in the unit of the file, of its first channel."""
        scale, offset = float(clean.scale[0]), float(clean.offset[0])
        return sorted([(low - offset) / scale, (high - offset) / scale])

    def _write_text(self, name: str, text: str) -> None:
        with atomic_path(self.output_dir / name) as temporary:
            temporary.write_text(text)

    def _write_table(self, records: Sequence[Record]) -> None:
        rows = [_flat(record) for record in records]
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with atomic_path(self.output_dir / "table.csv") as temporary, temporary.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows(rows)

    def _draw(self, records: Sequence[Record]) -> None:
        """The figure, of the first files."""
        if not records:
            return
        views = [
            AttackedSlice.of_files(
                Path(record["file"]),
                *self._outputs(Path(record["file"])),
                window=tuple(record["window_in_file"]),
                world_axis=record["world_axis"],
                caption=_caption(record),
            )
            for record in records[:ROWS]
        ]
        with atomic_path(self.output_dir / "figure.png") as temporary:
            temporary.write_bytes(attack_figure(views, f"{self.attack.info.name} on {self.target.name}"))


def _load(file: Path) -> MetaTensor:
    """The voxels of a file, (C,spatial), where nibabel says that they lie: it writes what is compared with them."""
    return LoadImage(StandardNibabelReader(), image_only=True, ensure_channel_first=True)(str(file))


@contextmanager
def _steps_bar(network: nn.Module, attack: Attack, batches: int) -> Iterator[None]:
    """Within it a progress bar counts how often the network is called: as many times as an attack takes steps, or a
    few times more."""
    steps = getattr(attack, "max_steps", None)
    total = None if steps is None else batches * (steps + 3)
    with tqdm(total=total, desc=attack.info.name, unit="pass", leave=False, position=1) as bar:

        def count(*_: Any) -> None:
            bar.update()

        handle = network.register_forward_hook(count)
        try:
            yield
        finally:
            handle.remove()


def _reached(
    attack: Attack, problems: Sequence[Problem], results: Sequence[Any], predictions: Sequence[torch.Tensor]
) -> Record:
    """What the attack reached in the loop and, by the predictions (b,1,spatial), after reading back."""
    hit = attacked = 0
    left = 0.0
    met = []
    for problem, result, prediction in zip(problems, results, predictions):
        found = prediction.squeeze(1).to(problem.label.device)
        holding = attack.hold_out_rule(problem)(found, problem)
        met += (attack.success_criterion()(found, holding, problem) | (result.attacked == 0)).tolist()
        hit += int((problem.attacked & ~holding).sum())
        attacked += int(result.attacked.sum())
        left += float((result.remaining * result.attacked).sum())
    success = torch.cat([result.success for result in results]).double().mean()
    return {
        "attacked_pixels": attacked,
        "success_in_loop": float(success),
        "success_read_back": sum(met) / len(met),
        "changed_in_loop": 1 - left / attacked if attacked else None,
        "changed_read_back": hit / attacked if attacked else None,
    }


def _on_grid(label: torch.Tensor, there: MetaTensor, here: MetaTensor) -> torch.Tensor:
    """Classes (1,spatial) on the grid of one image, as they lie on that of another, by the nearest; int64."""
    plain = torch.as_tensor(label).as_subclass(torch.Tensor)  # type: ignore[arg-type]
    if there.shape[1:] == here.shape[1:] and torch.allclose(there.affine.double(), here.affine.double()):
        return plain.long()
    resample = SpatialResample(mode="nearest", padding_mode="zeros")
    source = MetaTensor(plain.float(), affine=there.affine)
    placed = resample(source, dst_affine=here.affine, spatial_size=here.shape[1:])
    return placed.as_subclass(torch.Tensor).round().long()  # type: ignore[arg-type]


def _world_axis(image: MetaTensor, axis: int | None) -> int:
    """Axis of the world (0 to 2) that a spatial axis of an image lies along; the third where it is None."""
    if axis is None:
        return 2
    return int(np.abs(np.asarray(image.affine, dtype=np.float64)[:3, axis]).argmax())


def _caption(record: Record) -> str:
    clean, attacked = (
        "-" if value is None else f"{value:.2f}" for value in (record["dice_clean"], record["dice_attacked"])
    )
    return f"{file_stem(record['file'])}: mean Dice {clean} clean, {attacked} attacked"


def _summary(record: Record) -> Record:
    return {key: value for key, value in record.items() if key != "fingerprint"}


def _flat(record: Record) -> Record:
    """One row of the table."""
    row: Record = {}
    for key, value in _summary(record).items():
        if isinstance(value, Mapping):
            row |= {f"{key.removesuffix('_by_structure')}: {name}": each for name, each in value.items()}
        elif isinstance(value, list):
            row[key] = " ".join(f"{each:g}" for each in value)
        else:
            row[key] = value
    return row


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, allow_nan=False) + "\n"
