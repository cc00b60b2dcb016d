# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Facts that lie in files: results, spectra, weights, learning curves, configs. They are equal to the last bit."""

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from revision.compact import Facts
from revision.naming import Names

#: Where, by old paths, something that was measured is stored.
ROOTS = ("docs/", "bundles/", "configs/")
ENDINGS = (".json", ".npz", ".pt", ".csv")
#: Folders that hold no part of the repository.
SKIPPED = {"runs", "demo", "build", "eval", "node_modules", "__pycache__", "site", "tests"}
#: Prose, where only the keys count.
PROSE = {"docs/study/reasons.json"}
#: Versions, authors and words about a bundle; MONAI's schema checks them.
NOT_MEASURED = ("metadata.json",)
#: Configs of which only counts what they come to, see configured.py.
DECLARED = ("bundles/brain_mri_shield/configs/", "configs/studies/")


def stored_facts(names: Names, root: Path, facts: Facts) -> None:
    """Add what is stored below a checkout."""
    for file in sorted(_files(root)):
        old = names.path_before(file.relative_to(root).as_posix())
        if not old.startswith(ROOTS) or old.endswith(NOT_MEASURED) or old.startswith(DECLARED):
            continue
        name = f"stored/{old}"
        if file.suffix == ".json":
            _add_json(names, json.loads(file.read_text()), old, facts)
        elif file.suffix == ".csv":
            header, *rows = csv.reader(file.read_text().splitlines())
            lines = {f"{number:06d}": ",".join(row) for number, row in enumerate(rows)}
            facts.lines(name, lines | {"header": ",".join(names.key_before(word, old) for word in header)})
        elif file.suffix == ".npz":
            with np.load(file) as arrays:
                facts.lines(name, {names.key_before(key, old): _sum(arrays[key]) for key in arrays.files})
        else:
            weights = torch.load(file, map_location="cpu", weights_only=True)
            facts.lines(name, dict(_weights(names, weights, old, "")))


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = [each for each in folders if each not in SKIPPED and not each.startswith(".")]
        yield from (Path(folder, each) for each in files if each.endswith(ENDINGS))


#: In the record of a calibration a threshold became an object: the threshold's new name to the old, the rest to None.
FOREGROUND_RECORD = {
    "4.measure.foreground.above": "4.measure.foreground_above",
    **dict.fromkeys(("foreground", "foreground.above", "foreground.mask")),
    **dict.fromkeys(("4.measure.foreground", "4.measure.foreground.mask")),
}


def _sum(array: Any) -> str:
    """Type, shape and bytes."""
    values = array.detach().contiguous().numpy() if isinstance(array, torch.Tensor) else np.ascontiguousarray(array)
    return f"{values.dtype} {values.shape} {hashlib.sha256(values.tobytes()).hexdigest()}"


def _weights(names: Names, thing: Any, old: str, path: str) -> Iterator[tuple[str, str]]:
    """Tensors, and what else a state holds, such as a calibration: its keys and words are renamed with the code."""
    if isinstance(thing, Mapping):
        for key, value in thing.items():
            if key == "fingerprint" or f"{path}/{key}" == "/_extra_state/made_with/detector/weights":
                continue  # a sum of the words for a network's settings, one with the names of the detector's tensors
            if "/made_with/" in path:
                key = FOREGROUND_RECORD.get(key, key)
                if key is None:
                    continue
            yield from _weights(names, value, old, f"{path}/{names.key_before(str(key), old)}")
        if not thing:
            yield path, "empty"
    elif isinstance(thing, torch.Tensor):
        yield path, _sum(thing)
    elif isinstance(thing, (list, tuple)):
        for number, value in enumerate(thing):
            yield from _weights(names, value, old, f"{path}/{number}")
    else:
        yield path, repr(names.value_before(thing, old, code=True))


def _add_json(names: Names, content: Any, old: str, facts: Facts) -> None:
    """One fact for each section and column, by old names."""
    config = "configs/" in old
    groups: dict[str, dict[str, str]] = {}
    for path, value in _json_leaves(names, content, old, ()):
        group = [part for part in path if not part.startswith("[")][: 1 if config else 2]
        value = "" if old in PROSE and isinstance(value, str) else names.value_before(value, old, code=config)
        groups.setdefault("/".join(group), {})["/".join(path)] = json.dumps(value)
    for group, lines in groups.items():
        facts.lines(f"stored/{old}/{group}", lines)


def _json_leaves(names: Names, thing: Any, old: str, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(thing, dict) and thing:
        place = "/".join((old, *path))
        for key, value in thing.items():
            yield from _json_leaves(names, value, old, (*path, names.key_before(key, place)))
    elif isinstance(thing, list) and thing:
        for number, value in enumerate(thing):
            yield from _json_leaves(names, value, old, (*path, f"[{number:05d}]"))
    else:
        yield path, thing
