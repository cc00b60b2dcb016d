# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Facts of the configs of the studies: the parts that they come to, with all their settings."""

import os
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import nn

from revision.adapting import of_study
from revision.compact import Facts, digest
from revision.configured import SHAPE, parser_of
from revision.inputs import draw
from revision.naming import Names
from revision.transforming import brain_folder

STUDIES = ("paper", "paper_compact", "paper_smoke")
#: What a study is made of.
PARTS = ("targets", "attacks", "detectors", "reformers", "defenses", "baselines", "hardened", "rivals.parts")
NUMBERS = ("consistency_reformer", "seed", "seeds", "t_fp", "batch_size")
#: Settings that make networks.
FACTORIES = (".network", ".generator", ".critic")
#: Settings that are new; by default they are what was there before.
NEW = {"foreground", "any_other_class"}


def declared_facts(names: Names, facts: Facts, root: Path, folder: Path) -> None:
    """Add them all."""
    data = brain_folder(folder / "declared", SHAPE)
    for study in STUDIES:
        facts.step(_study, names, facts, root, study, data)
    facts.step(_attack_study, names, facts, root, data)


def _study(names: Names, facts: Facts, root: Path, config: str, data: Path) -> None:
    here = Path.cwd()
    os.chdir(root)  # configs refer to one another from there
    try:
        parser = ConfigParser()
        parser.read_config(str(root / "configs" / "studies" / f"{config}.json"))
        for key, value in {"dataset_dir": str(data), "run_dir": str(data.parent / config), "device": "cpu"}.items():
            parser[key] = value
        study, size = (parser.get_parsed_content(key) for key in ("defense_study", "spatial_size"))
        comparisons = parser.get_parsed_content("comparisons") if names.is_before else study.grid.comparisons
    finally:
        os.chdir(here)
    for kind in PARTS:
        parts = of_study(names, study, kind)
        told = {name: _sum(_told(names, part, "", size)) for name, part in parts.items()}
        facts.put(f"declared/{config}/{kind}", ["{}", told])
    for kind in NUMBERS:
        facts.add(f"declared/{config}/{kind}", repr(of_study(names, study, kind)))
    facts.add(f"declared/{config}/comparisons", repr([list(pair) for pair in comparisons]))
    facts.add(f"declared/{config}/structures", ",".join(study.data.structures))
    facts.add(f"declared/{config}/slices_per_volume", study.data.slices_per_volume)
    file = {"image": str(data / "volumes" / "b1_SS.nii.gz"), "label": str(data / "volumes" / "b1_glm.nii.gz")}
    item = study.data.preprocessing(file)
    for key in ("image", "label"):
        facts.add(f"declared/{config}/preprocessing/{key}", torch.as_tensor(item[key]).as_subclass(torch.Tensor))


def _attack_study(names: Names, facts: Facts, root: Path, data: Path) -> None:
    bundle = root / names.path("bundles/brain_mri_shield")
    parser = parser_of(names, bundle, "evaluate", dataset_dir=str(data))
    parser.update(ConfigParser.load_config_file(str(root / "configs" / "studies" / "attacks.json")))
    attacks = parser.get_parsed_content("attacks")
    told = {name: _sum(_told(names, part)) for name, part in attacks.items()}
    facts.put("declared/attacks/attacks", ["{}", told])
    for key in ("exported", "slices_per_volume", "variants"):
        facts.add(f"declared/attacks/{key}", repr(parser.get_parsed_content(key)))


def _told(names: Names, value: Any, path: str = "", size: Any = ()) -> list[str]:
    """Every setting of a part, in old words, a line each; of what makes a network, the network."""
    if path.endswith(FACTORIES):
        with torch.device("meta"):
            made = value()
        layers = repr(made).replace("FCDenseNet103", "FCDenseNet")  # one class, with other numbers
        return [f"{path}: {digest(layers.encode())}", *_told(names, made, f"{path}.made", size)]
    if path.endswith(".wrap") and value is not None:
        return [f"{path}: {digest(_wrapped(value, size).numpy().tobytes())}"]
    if is_dataclass(value) and not isinstance(value, type):
        lines = [f"{path}: {_name(names, type(value))}"]
        for each in fields(value):
            if each.name not in NEW:
                lines += _told(names, getattr(value, each.name), f"{path}.{names.key_before(each.name)}", size)
        return lines
    if isinstance(value, partial):
        inner = {"function": value.func, **dict(enumerate(value.args)), **value.keywords}
        return [line for key, each in inner.items() for line in _told(names, each, f"{path}.{key}", size)]
    if isinstance(value, nn.Module):
        shapes = [f"{key} {tuple(each.shape)}" for key, each in value.state_dict().items() if each is not None]
        return [f"{path}: {_name(names, type(value)).removesuffix('103')} {shapes}"]
    if isinstance(value, dict):
        return [line for key, each in value.items() for line in _told(names, each, f"{path}.{key}", size)]
    if isinstance(value, (list, tuple)):
        return [line for key, each in enumerate(value) for line in _told(names, each, f"{path}.{key}", size)]
    if callable(value):
        return [f"{path}: {_name(names, value)}"]
    return [f"{path}: {value}"]


def _sum(lines: list[str]) -> str:
    return digest("\n".join(sorted(lines)).encode())


def _wrapped(wrap: Any, size: Any) -> torch.Tensor:
    """What a network that does next to nothing makes of an image, once it is wrapped."""
    inner = nn.Conv2d(1, 1, 3, padding=1).double()
    for number, parameter in enumerate(inner.parameters()):
        parameter.data = draw(*parameter.shape, seed=number)
    with torch.no_grad():
        return wrap(inner)(draw(1, 1, *size))


def _name(names: Names, thing: Any) -> str:
    """The old name of a class or a function, without the module, which may have moved."""
    return names.key_before(f"{thing.__module__}.{thing.__qualname__}").rpartition(".")[2]
