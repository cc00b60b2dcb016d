# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A study of defenses: targets, attacks on them, detectors and reformers, each with each."""

from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from torch import nn

from monai_shield.evaluation.cells import CellStore
from monai_shield.evaluation.volume import subject_of
from monai_shield.fingerprints import stable_repr
from monai_shield.locks import one_run
from reproduction.adversarial_cells import AdversarialCells
from reproduction.baseline_cells import BaselineCells
from reproduction.data import StudyData
from reproduction.grid import Grid, StudySettings
from reproduction.image_set import ImageSet
from reproduction.jobs import Diary, Job, distributed, run_jobs
from reproduction.measured import MeasuredCells
from reproduction.networks import StudyNetworks, StudySetup
from reproduction.study_images import StudyImages


class DefenseStudy:
    """
    Train targets, detectors and reformers, attack every target, and measure every defense.

    Every result is a cell that is kept with what it depends on. A run that was killed goes on, and a changed setting
    recomputes only what it touches. Each attack and each prediction is computed once and shared by all defenses. Under
    torchrun the processes share the work.

    Args:
        data: scans by split, and their slices.
        grid: the parts of the study.
        output_dir: where cells and results go.
        settings: its numbers.
        device: where to compute; by default the first GPU where there is one.

    Raises:
        ValueError: when a part is measured on no slice, or a name in the settings is not known.
    """

    def __init__(
        self,
        data: StudyData,
        grid: Grid,
        output_dir: str | Path,
        settings: StudySettings = StudySettings(),  # noqa: B008 - frozen
        device: torch.device | str | None = None,
    ) -> None:
        number = data.slices_per_volume
        every_nth = {name: part.every for name, part in grid.attacks.items()}
        every_nth |= {name: part.every for name, part in grid.baseline_defenses.items()}
        for name, every in every_nth.items():
            if (every - 1) // 2 >= number:
                raise ValueError(f"'{name}' is for every {every}th slice of {number} of a scan: for none.")
        self.data, self.settings = data, settings
        self.grid = grid.kept(settings.only, settings.groups)
        self.output_dir = Path(output_dir)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.cells = CellStore(self.output_dir / "cells")
        self.diary = Diary(self.output_dir / "diary.csv")
        self.networks = StudyNetworks(StudySetup(data, self.grid, settings, self.cells, self.device))
        self.images = StudyImages(self.networks)
        self.adversarial = AdversarialCells(self.networks, self.images)
        self.measured = MeasuredCells(self.networks, self.images)
        self.baselines = BaselineCells(self.networks, self.images)

    def run(self) -> None:
        """
        Do all of it, or what is left of it.

        Raises:
            RefusedError: where another run, not one of those that torchrun started with this one, writes to its folder.
        """
        with distributed(), one_run(self.output_dir) if idist.get_rank() == 0 else nullcontext():
            for description, jobs in self.stages().items():
                run_jobs(list(jobs), self.output_dir / "claims", description, self.diary)

    def stages(self) -> dict[str, Iterable[Job]]:
        """The jobs, by the stage that begins when all before it are done."""
        grid, networks = self.grid, self.networks
        return {
            "training": [*networks.target_jobs(grid.targets), *networks.detector_jobs(), *networks.generator_jobs()],
            # a long training goes first, and the other processes attack beside it
            "robust training and attacking": [
                *networks.target_jobs(grid.robust_targets),
                *self.adversarial.jobs(grid.targets),
            ],
            "attacking the robust targets, searching": [
                *self.adversarial.jobs(grid.robust_targets),
                *self.baselines.search_jobs(),
            ],
            "measuring": [*self.measured.jobs(), *self.baselines.measure_jobs()],
        }

    def settings_as_dict(self) -> dict[str, Any]:
        """What was set, in plain JSON types."""
        data, grid = self.data, self.grid
        return {
            "scans": {split: [str(item["id"]) for item in items] for split, items in data.splits.items()},
            "subjects": {split: len({subject_of(item) for item in items}) for split, items in data.splits.items()},
            "slices": {
                "train": len(data.train),
                "val": len(data.val),
                "test": len(self.images.labels(ImageSet("clean"))),
            },
            "size": list(data.val_images.shape[2:]),
            "slices_per_volume": data.slices_per_volume,
            "classes": data.num_classes,
            "seed": self.settings.seed,
            "t_fp": self.settings.t_fp,
            "consistency_reformer": grid.consistency_reformer,
            "attacks": {
                name: {"attack": stable_repr(part.attack), "every": part.every, "pooled": part.pooled}
                for name, part in grid.attacks.items()
            },
            "targets": {name: stable_repr(part.training) for name, part in grid.every_target.items()},
            "baseline_defenses": {name: stable_repr(part) for name, part in grid.baseline_defenses.items()},
            "detectors": {name: stable_repr(part.training) for name, part in grid.detectors.items()},
            "reformers": {
                name: stable_repr(made) if isinstance(made, nn.Module) else made
                for name, made in grid.reformers.items()
            },
            "defenses": {name: list(parts) for name, parts in grid.defenses.items()},
        }
