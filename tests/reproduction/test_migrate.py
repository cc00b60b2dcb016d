# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Cells that an earlier revision stored are taken once they are renamed."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from monai.bundle import ConfigParser
from torch import nn

from reproduction.baseline_defenses import DefenseGANPart
from reproduction.dcgan import dcgan_critic, dcgan_generator
from reproduction.summary import DefenseSummary
from tools.migrate import fingerprints_before, migrate, rename_cells

ROOT = Path(__file__).parents[2]
NETWORKS = ROOT / "reproduction" / "results" / "further" / "networks"
GAN = DefenseGANPart(
    partial(dcgan_generator, latent=4, channels=[4, 4]),
    partial(dcgan_critic, channels=[4, 4], size=16),
    latent=4,
    steps=2,
    size=16,
    training={"checkpoint_interval": 1, "critic_steps": 1, "batch_size": 4},
    search={"steps": 2, "restarts": 1},
    every=1,
)


def test_after_it_a_study_computes_nothing(tiny_study, record, tmp_path) -> None:
    part = tiny_study().grid.targets["tiny"]
    parts = {"robust_targets": {"second": replace(part, after="tiny")}, "baseline_defenses": {"gan": GAN}}
    parts["reformers"] = {"convolution": "spatial", "blur": nn.AvgPool2d(3, 1, 1)}
    with fingerprints_before():
        study = tiny_study(**parts)
        study.run()
        whole = json.dumps(DefenseSummary(study, resamples=5).as_dict())
    cells = tmp_path / "study" / "cells"
    (cells / "baseline_defenses").rename(cells / "rivals")
    stored = len(list(cells.rglob("*.pt")))
    assert rename_cells(cells, lambda: tiny_study(**parts)) == stored == len(list(cells.rglob("*.pt")))
    assert not (cells / "rivals").exists()
    record.clear()
    again = tiny_study(**parts)
    again.run()
    assert (record.trained, record.attacked, record.kept, record.asked) == (0, [], [], 0)
    assert json.dumps(DefenseSummary(again, resamples=5).as_dict()) == whole
    assert rename_cells(cells, lambda: tiny_study(**parts)) == 0


def test_the_stored_networks_are_those_that_their_study_takes(shield_data: Path, tmp_path: Path) -> None:
    shutil.copytree(NETWORKS, tmp_path / "cells")
    config = str(ROOT / "configs" / "studies" / "paper_compact.json")
    settings = {"dataset_dir": str(shield_data / "miccai2012_multiatlas"), "seeds": 1, "run_dir": str(tmp_path)}
    migrate(str(tmp_path / "cells"), config, **settings)
    parser = ConfigParser()
    parser.read_config(config)
    parser.update(settings)
    study = parser.get_parsed_content("defense_study")
    networks, grid = study.networks, study.grid
    keys = [networks.target_key(name) for name in grid.every_target]
    keys += [networks.detector_key(name, 0) for name in grid.detectors]
    keys += [networks.generator_key(name) for name in grid.baseline_defenses]
    taken = {study.cells.path(*key) for key in keys if study.cells.has(*key)}
    assert taken == set((tmp_path / "cells").rglob("*.pt"))
    for name in grid.every_target:
        networks.trained_target(name)
    for name in ("UNet spatial", "DenseNet shifted", "AE I, UNet's size"):
        networks.detector(name)
    networks.baseline_defense("Defense-GAN")


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder '"):
        migrate(str(tmp_path / "nowhere"), "config.json")
