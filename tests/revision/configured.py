# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Facts of the configs of the shipped bundle: not how they are written, but what they come to."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser, run
from monai.utils import set_determinism
from torch import nn

from revision.compact import Facts, digest
from revision.naming import Names
from revision.transforming import brain_folder

#: By config, its settings.
SETTINGS = {
    "inference": "split num_classes head spatial_size pixdim max_extent max_voxels on_reject batch_size",
    "calibrate": "split fit_split label_map head pixdim max_extent max_voxels batch_size t_fp rule "
    "every_nth_slice fit_every_nth_slice",
    "evaluate": "split seed slices_per_volume variants fit_split fit_every_nth_slice",
    "train": "seed num_classes pixdim split val_split val_interval max_epochs batch_size learning_rate every_nth_slice "
    "val_every_nth_slice",
    "train_detector": "seed split val_split val_interval max_epochs batch_size learning_rate weight_decay "
    "every_nth_slice val_every_nth_slice pixdim",
    "train_reformer": "seed split val_split val_interval max_epochs batch_size learning_rate weight_decay "
    "every_nth_slice val_every_nth_slice pixdim noise_std",
}
#: By config, its networks, drawn with one seed.
NETWORKS = {
    "inference": ("network_def", "spectrum_detector", "reformer_def"),
    "calibrate": ("network_def", "detector_def", "reformer"),
    "train": ("network_def",),
    "train_detector": ("network_def",),
    "train_reformer": ("network_def",),
}
#: By config, its way from a file to the network, with the label where it is of both. Of the last config an epoch is
#: compared.
PREPROCESSING = {
    "inference": (("preprocessing", "image"),),
    "calibrate": (("preprocessing", "image"),),
    "evaluate": (("evaluation_preprocessing", "both"),),
    "train": (("preprocessing", "both"),),
    "train_detector": (("preprocessing", "image"),),
}
SHAPE = (60, 7, 60)


def config_files(bundle: Path, config: str) -> list[str]:
    """The files of a config: an evaluation stands on the inference."""
    return [str(bundle / "configs" / f"{name}.json") for name in (["inference"] * (config == "evaluate") + [config])]


def parser_of(names: Names, bundle: Path, config: str = "inference", **settings: Any) -> ConfigParser:
    """A config of the bundle, with settings by their old names."""
    parser = ConfigParser()
    parser.read_config(config_files(bundle, config))
    for key, value in {"bundle_root": str(bundle), "device": "cpu", **settings}.items():
        parser[names.word(key, "configs")] = value
    return parser


def run_config(names: Names, bundle: Path, config: str, **settings: Any) -> int:
    """Run a config of the bundle, with settings by their old names; returns the exit code."""
    here = Path.cwd()
    os.chdir(bundle.parents[1])
    try:
        run(
            config_file=config_files(bundle, config),
            logging_file=False,
            **names.settings("configs", {"bundle_root": str(bundle), "device": "cpu", **settings}),
        )
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        os.chdir(here)
    return 0


def config_facts(names: Names, facts: Facts, bundle: Path, folder: Path) -> None:
    """What each config comes to."""
    root = brain_folder(folder / "configured", SHAPE)
    for config in SETTINGS:
        facts.step(_config, names, facts, bundle, config, root)


def _config(names: Names, facts: Facts, bundle: Path, config: str, root: Path) -> None:
    parser = parser_of(names, bundle, config, dataset_dir=str(root), run_dir=str(root.parent / "run"))

    def content(key: str) -> Any:
        return parser.get_parsed_content(names.word(key, f"configs/{config}"))

    for key in SETTINGS[config].split():
        if not names.gone(f"config/{config}/{key}"):
            facts.add(f"config/{config}/{key}", repr(names.before(content(key), "configs")))
    for key in NETWORKS.get(config, ()):
        torch.manual_seed(21)
        state = content(key).state_dict()
        sums = {
            names.key_before(name): f"{tuple(value.shape)} {float(value.double().sum()):.5g}"
            for name, value in state.items()
            if isinstance(value, torch.Tensor) and not value.isnan().any()
        }
        facts.lines(f"config/{config}/{key}", sums)
    file = {"image": str(root / "volumes" / "b1_SS.nii.gz"), "label": str(root / "volumes" / "b1_glm.nii.gz")}
    for key, keys in PREPROCESSING.get(config, ()):
        item = content(key)(file if keys == "both" else {"image": file["image"]})
        for name in item if keys == "both" else ("image",):
            facts.add(f"config/{config}/{key}/{name}", torch.as_tensor(item[name]).as_subclass(torch.Tensor))
    if config == "evaluate":
        for name, attack in content("attacks").items():
            kind = names.key_before(f"{type(attack).__module__}.{type(attack).__name__}")
            told = {key: repr(value) for key, value in asdict(attack).items() if not isinstance(value, nn.Module)}
            facts.put(f"config/{config}/attack/{name}", ["{}", {"class": kind, **told}])
        facts.add(f"config/{config}/filters", ",".join(sorted(content("filters"))))
        baselines = parser["baselines"] if names.is_before else parser["baselines"]["detectors"]
        facts.add(f"config/{config}/baselines", ",".join(sorted(baselines)))


def trained_facts(names: Names, facts: Facts, bundle: Path, folder: Path) -> None:
    """What an epoch of each training makes of the networks, to the last bit."""
    root = brain_folder(folder / "training", SHAPE)
    for config, weights in {
        "train": "model.pt",
        "train_detector": "shield/spectrum_detector.pt",
        "train_reformer": "shield/reformer.pt",
    }.items():
        run_dir = folder / "trained" / config
        settings = {"max_epochs": 1, "batch_size": 4, "every_nth_slice": 2, "split": "train"}
        set_determinism(0)
        run_config(names, bundle, config, dataset_dir=str(root), run_dir=str(run_dir), **settings)
        set_determinism(None)
        state = torch.load(run_dir / weights, weights_only=True)
        lines = {
            names.key_before(key): f"{tuple(value.shape)} {digest(np.ascontiguousarray(value).tobytes())}"
            for key, value in state.items()
            if isinstance(value, torch.Tensor)
        }
        facts.lines(f"trained/{config}", lines)
