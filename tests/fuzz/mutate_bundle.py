# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The bundle itself, mutated: its settings, its weights, its calibration and its sums; two probes tell what it does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.case import Mutant, pick
from fuzz.mutate_weights import mutate_calibration, mutate_sums, mutate_weights

#: Where a setting lies in inference.json, what it is set to, and whether the labels must stay the same.
SETTINGS: tuple[tuple[str, tuple[Any, ...], bool], ...] = (
    ("on_reject", ("keep",), False),
    ("on_reject", ("empty", "raise", "", None, 1, "Empty", ["empty"], True), True),
    ("batch_size", (1, 3, 100, 0, -1, 1.5, "8", None, 10**9), True),
    ("inferer.slice_axis", (0, 2, -1, 3, None, "1", 1.0), True),
    ("inferer.min_foreground", (0, 0.5, 1, -1, 2, "$float('nan')", None, "0.02"), True),
    ("inferer.reformer", (None, "@detector", "$torch.nn.Identity()"), True),
    ("inferer.on_reject", ("raise", "flag", "empty", None), True),
    ("inferer.detector", (None, "@spectrum_detector", "@reformer", "@detector_def"), True),
    ("inferer.batch_size", (0, 5, -2), True),
    ("spectrum_detector.network.filter.radius", (0.01, 0.05, 0.14, 0.3, 0, -1, 10, "$float('nan')", None), True),
    ("spectrum_detector.domain", ("frequency", "space", "spatial", "", None), True),
    ("spectrum_detector.spatial_size", ([32, 32], [64], None, [65, 64]), True),
    ("detector_def.rule", ("mean", "sum", "min", "fisher", "stouffer", "", None, 1), True),
    ("detector_def.detectors.consistency", (None, {"_target_": "monai_shield.detectors.PredictionEntropy"}), True),
    ("reformer_def.residual", (False, None), True),
    ("reformer_def.filter.radius", (0, 2, 3, -1, None), True),
    ("spatial_size", ([32, 32], [128, 128], [64], [0, 0], [64, 64, 64], "64", [63, 64], [-1, -1], None), True),
    ("num_classes", (1, 2, 200, 0, -1, None, 256, 300), True),
    ("network_def.features", ([4, 4, 8, 8, 8, 8], [4, 4, 8], [], None), True),
    ("network_def.norm", ("instance", None, "layer"), True),
    ("network_def.in_channels", (3, 0), True),
    ("network_def.spatial_dims", (3, 1), True),
    ("network_def.act", ("relu", "$('leakyrelu', {'negative_slope': 0.5})"), True),
    ("network_def.dropout", (0.5,), True),
    ("evaluator.amp", (True,), True),
    ("pixdim", ([2.0, 1.0, 1.0], [0.5] * 3, [1.0], [0, 0, 0], [-1, 1, 1], [1.0, 1.2, 1.0], None), True),
    ("max_extent", (10**9, 0, -1, None), True),
    ("max_voxels", (10**12, 0, 100, None), True),
    ("*Orientationd.axcodes", ("RAS", "LPS", "ALS", "LA", "", None, "XYZ"), True),
    ("*OwnSpacingd.pixdim", ([2.0, 1.0, 1.0], [0.5] * 3, [1.0], [0, 0, 0]), True),
    ("*OwnSpacingd.mode", ("nearest", "cubic"), True),
    ("*OwnSpacingd.diagonal", (True,), True),
    ("*SpatialPadd.spatial_size", ([32, -1, 32], [128, -1, 128], [64, 64], [70, -1, 64]), True),
    ("*CropForegroundd.margin", (3, -3), True),
    ("*CropForegroundd.allow_smaller", (False,), True),
    ("*LogitsToLabeld.head", ("sigmoid",), True),
    ("*ApplyShieldd.on_reject", ("keep",), False),
    ("*Invertd.nearest_interp", (False,), True),
    ("*SaveImaged.output_dtype", ("$torch.int8", "$torch.float32", None), True),
    ("*SaveImaged.output_postfix", ("", "pred", "seg2"), True),
    ("*SaveImaged.output_ext", (".nii", ".png", ".mha"), True),
    ("*SaveImaged.separate_folder", (True,), True),
    ("*SaveImaged.resample", (True,), True),
    ("device", ("cuda", "cpu:1", "nonsense", "$torch.device('meta')"), True),
    ("models_dir", ("nowhere", None), True),
    ("target_weights", ("$@models_dir + '/shield/reformer.pt'",), True),
    ("detector_weights", ("$@models_dir + '/model.pt'",), True),
    ("detector", ("@detector_def",), True),
    ("reformer", ("@reformer_def",), True),
    ("initialize", ([], None), True),
)


def make(random: np.random.Generator, bundle: Path, probes: list[Path], folder: Path) -> Mutant:
    """A copy of the bundle with one thing changed, and the probes it is to answer."""
    root = folder / "bundles" / bundle.name
    shutil.copytree(bundle, root)
    what = pick(random, tuple(ROWS))
    mutant = ROWS[what](random, root)
    files = [folder / f"{probe.stem}.nii" for probe in probes]
    for file, probe in zip(files, probes):
        shutil.copyfile(probe, file)
    mutant.what, mutant.files, mutant.alone, mutant.bundle = what, files, True, root
    return mutant


def _settings(random: np.random.Generator, root: Path) -> Mutant:
    file = root / "configs" / "inference.json"
    config = json.loads(file.read_text())
    where, values, labels = pick(random, SETTINGS)
    value = pick(random, values)
    set_value(config, where, value)
    file.write_text(json.dumps(config, indent=4))
    return Mutant("", f"{where} = {value!r}", [], labels=labels, foreign=True)


def set_value(config: dict[str, Any], where: str, value: Any) -> None:
    """Set what lies at a dotted place; ``*Name`` is the transform of that name, wherever it is."""
    first, *rest = where.split(".")
    if first.startswith("*"):
        every = [*config["preprocessing"]["transforms"], *config["postprocessing"]["transforms"]]
        part: Any = next(each for each in every if each["_target_"].split(".")[-1] == first[1:])
    elif not rest:
        config[first] = value
        return
    else:
        part = config[first]
    for name in rest[:-1]:
        part = part[name]
    part[rest[-1]] = value


def _removed(random: np.random.Generator, root: Path) -> Mutant:
    """A transform or a key less, or two transforms in the other order."""
    file = root / "configs" / "inference.json"
    config = json.loads(file.read_text())
    how = pick(random, ("transform", "transform", "key", "order"))
    place = config[pick(random, ("preprocessing", "postprocessing"))]["transforms"]
    if how == "key":
        name = pick(random, sorted(config))
        del config[name]
    elif how == "transform":
        name = place.pop(int(random.integers(len(place))))["_target_"].split(".")[-1]
    else:
        at = int(random.integers(len(place) - 1))
        place[at], place[at + 1] = place[at + 1], place[at]
        name = place[at]["_target_"].split(".")[-1]
    file.write_text(json.dumps(config, indent=4))
    # foreground need not be cropped, nor a file be checked twice, for these scans: then all must be as it was
    return Mutant("", f"{how} {name}", [], foreign=True)


def _broken(random: np.random.Generator, root: Path) -> Mutant:
    """A file of the bundle that is not what it should be."""
    name = pick(random, ("inference.json", "inference.json", "metadata.json", "logging.conf"))
    file = root / "configs" / name
    content = bytearray(file.read_bytes())
    how = pick(random, ("truncated", "binary", "empty", "missing", "a folder", "a byte", "a list", "byte order mark"))
    if how in ("missing", "a folder"):
        file.unlink()
        if how == "a folder":
            file.mkdir()
    elif how == "a byte":
        at = int(random.integers(len(content)))
        content[at] = int(random.integers(32, 127))
        how += f" at {at}"
    changed = {
        "truncated": content[: len(content) // 2],
        "binary": random.bytes(300),
        "empty": b"",
        "a list": b"[1, 2]",
    }
    if how == "byte order mark":
        changed[how] = b"\xef\xbb\xbf" + content
    if file.is_file():
        file.write_bytes(bytes(changed.get(how, content)))
    return Mutant("", f"{name} {how}", [], foreign=True)


#: Row of the table: what changes the copy of the bundle and says what was done.
ROWS: dict[str, Callable[[np.random.Generator, Path], Mutant]] = {
    "bundle: settings": _settings,
    "bundle: settings missing, transforms in another order": _removed,
    "bundle: broken config": _broken,
    "bundle: weights": mutate_weights,
    "bundle: calibration": mutate_calibration,
    "bundle: SHA256SUMS": mutate_sums,
}
