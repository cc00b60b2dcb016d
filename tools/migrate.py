# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""
Give the stored cells of a study the fingerprints of this revision, so that nothing is trained or attacked again.

``python -m tools.migrate FOLDER --config_file configs/studies/paper_compact.json --dataset_dir DIR``, with the other
settings of the study. FOLDER is ``RUN_DIR/cells`` or ``reproduction/results/further/networks``. A cell whose settings
or input files are others stays as it is.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import fire
from monai.bundle import ConfigParser

from monai_shield import fingerprints
from monai_shield.evaluation.cells import CellStore, Key, file_name
from reproduction.study import DefenseStudy

#: Text that fingerprints are made of, as a pattern, and what version 0.1.0 before the rebuild had in its place.
BEFORE = (
    (r"Slicing\(axis=(\d+), min_foreground=([\d.e-]+), foreground=Foreground\(above=0\.0, mask=None\)\)", r"\1, \2"),
    (
        r"functools\.partial\((<function dcgan_generator>, latent=\d+), channels=\[128, 64, 32, 16\]\)",
        r"functools.partial(\1)",
    ),
    (r"functools\.partial\((<function dcgan_critic>), channels=\[16, 32, 64, 128\], size=64\)", r"\1"),
    (r"^\('baseline_defenses', ", "('rivals', "),
)
#: Folder of cells to its name at that time.
FOLDERS = {"baseline_defenses": "rivals"}


def migrate(folder: str, config_file: str, **settings: Any) -> str:
    """
    Rename the cells of a folder and the fingerprints inside.

    Args:
        folder: of the cells.
        config_file: config of the study.
        settings: what the study was run with, such as ``dataset_dir``.

    Returns:
        how many cells were found and renamed.

    Raises:
        FileNotFoundError: when there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder '{root}'.")
    return f"{rename_cells(root, lambda: _study(config_file, settings))} cells renamed in '{root}'."


def rename_cells(root: Path, make_study: Callable[[], DefenseStudy]) -> int:
    """
    Rename the cells of a folder.

    Args:
        root: the folder.
        make_study: makes the study that they are of; it remembers fingerprints, so that two are needed.

    Returns:
        how many were renamed.
    """
    with fingerprints_before():
        before = list(cell_keys(make_study(), root))
    return sum(_renamed(CellStore(root), *pair) for pair in zip(before, list(cell_keys(make_study(), root))))


@contextmanager
def fingerprints_before() -> Iterator[None]:
    """Within it fingerprints are computed as before the rebuild."""
    now = fingerprints.stable_repr

    def before(part: object) -> str:
        text = now(part)
        for pattern, replacement in BEFORE:
            text = re.sub(pattern, replacement, text)
        return text

    with mock.patch.object(fingerprints, "stable_repr", before):
        yield


def cell_keys(study: DefenseStudy, root: Path) -> Iterator[Key]:
    """
    Every cell that a study may have, always in the same order.

    Args:
        study: with its settings.
        root: folder of the cells; the attacked slices are those that are there.
    """
    grid, networks, images = study.grid, study.networks, study.images
    yield from (networks.target_key(name) for name in grid.every_target)
    yield from (networks.detector_key(name, k) for name, k in networks.trained_detectors())
    yield from (networks.generator_key(name) for name in grid.baseline_defenses)
    for target in grid.every_target:
        for attack in grid.attacks:
            for volume in study.data.volumes:
                yield images.adversarial_key(target, attack, volume)
                heading = f"slices/{target}/{attack}/{volume}"
                slices = root.joinpath(*map(file_name, heading.split("/"))).glob("*.pt")
                fingerprint = images.attack_fingerprint(target, attack, volume)
                yield from (
                    (heading, place, fingerprint) for place in sorted({path.name.split(".")[0] for path in slices})
                )
    for which in study.measured.sets():
        yield from study.measured.score_keys(which).values()
        yield from study.measured.count_keys(which).values()
    for name in grid.baseline_defenses:
        for which in study.baselines.sets():
            yield study.baselines.search_key(name, which)
            yield from (
                study.baselines.count_key(name, which, target) for target in study.baselines.measured_targets(which)
            )


def _study(config_file: str, settings: dict[str, Any]) -> DefenseStudy:
    parser = ConfigParser()
    parser.read_config(config_file)
    parser.update(settings)
    return parser.get_parsed_content("defense_study")


def _renamed(store: CellStore, before: Key, now: Key) -> bool:
    heading, *rest = before
    old = (FOLDERS.get(heading, heading), *rest)
    cells = store.load(*old) if old != now else None
    if cells is None:
        return False
    store.put(*now, cells)
    path, curve = store.path(*old), store.path(*old).with_suffix(".csv")
    path.unlink(missing_ok=True)
    if curve.is_file():
        curve.rename(store.path(*now).with_suffix(".csv"))
    if not any(path.parent.iterdir()):
        path.parent.rmdir()
    return True


if __name__ == "__main__":
    fire.Fire(migrate, name="migrate")
