# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from monai_shield.attacks import DAG, Attack, FrozenNetwork
from monai_shield.detectors import Detector
from monai_shield.evaluation import AttackStudy
from monai_shield.networks import FCDenseNet, MagNetAutoencoderI, MagNetAutoencoderII, SegNet
from reproduction.published import PAPER_AUC
from reproduction.rearranged import RolledNetwork

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "brain_mri_shield" / "configs"


@pytest.fixture
def config(tmp_path):
    parser = ConfigParser()
    overlay = ROOT / "configs" / "studies" / "attacks.json"
    parser.read_config([str(BUNDLE / "inference.json"), str(BUNDLE / "evaluate.json"), str(overlay)])
    parser["bundle_root"] = str(BUNDLE.parent)
    parser["dataset_dir"] = "nowhere"
    parser["evaluation_datalist"] = []
    parser["attack_study_dir"] = str(tmp_path)
    return parser


def test_the_study_of_the_attacks_is_what_its_config_says(config):
    study = config.get_parsed_content("attack_study_definition")
    assert isinstance(study, AttackStudy)
    assert isinstance(study.network, FrozenNetwork)
    assert all(isinstance(attack, Attack) for attack in study.attacked.attacks.values())
    assert study.exported <= set(study.attacked.attacks)


def test_the_names_in_its_table_tell_the_settings(config):
    for name, attack in config.get_parsed_content("attacks").items():
        assert not attack.attack_background
        assert attack.confine_to_mask
        if hasattr(attack, "epsilon"):
            assert f"{255 * attack.epsilon:g}/255" in name
        words = name.replace(",", "").split()
        if words[-1] in ("steps", "queries"):
            assert attack.max_steps == int(words[-2])
        assert name.lower().startswith(attack.info.name.lower())


PAPERS = ["paper", "paper_compact", "paper_smoke"]
TABLE_1 = [
    ("AE I", MagNetAutoencoderI, "space"),
    ("AE II", MagNetAutoencoderII, "space"),
    ("UNet spatial", None, "space"),
    ("DenseNet spatial", FCDenseNet, "space"),
    ("UNet frequency", None, "frequency"),
    ("DenseNet frequency", FCDenseNet, "frequency"),
    ("UNet shifted", None, "shifted_frequency"),
    ("DenseNet shifted", FCDenseNet, "shifted_frequency"),
]
TABLE_2 = [
    ("AE I", "AE I"),
    ("AE I", "AE II"),
    ("AE II", "AE I"),
    ("AE II", "AE II"),
    ("AE I", "UNet"),
    ("AE I", "DenseNet"),
    ("AE II", "UNet"),
    ("AE II", "DenseNet"),
    ("UNet frequency", "UNet"),
    ("UNet frequency", "DenseNet"),
    ("DenseNet frequency", "UNet"),
    ("DenseNet frequency", "DenseNet"),
    ("UNet shifted", "UNet"),
    ("UNet shifted", "DenseNet"),
    ("DenseNet shifted", "UNet"),
    ("DenseNet shifted", "DenseNet"),
]


@pytest.fixture
def parse(brain_folder, tmp_path, monkeypatch):
    """Parses a study of defenses by its config's name, on a data set of four brains."""
    monkeypatch.chdir(tmp_path)  # the configs find each other from anywhere

    def make(name, **changes):
        parser = ConfigParser()
        parser.read_config(ROOT / "configs" / "studies" / f"{name}.json")
        parser.update({"dataset_dir": str(brain_folder), "run_dir": str(tmp_path / name), **changes})
        return parser

    return make


def sizes(study):
    """Number of parameters of every target and detector; nothing is computed."""
    with torch.device("meta"):
        made = {
            name: part.network() for parts in (study.grid.targets, study.grid.detectors) for name, part in parts.items()
        }
    return {name: sum(parameter.numel() for parameter in network.parameters()) for name, network in made.items()}


@pytest.mark.parametrize("name", PAPERS)
def test_a_study_has_the_detectors_and_defenses_of_the_tables_of_the_paper(parse, name):
    study = parse(name).get_parsed_content("defense_study")
    grid = study.grid
    assert [study.data.splits[split][0]["id"] for split in ("train", "val", "test")] == ["b0", "b2", "b3"]
    assert list(grid.targets) == ["UNet", "SegNet", "DenseNet"]
    assert [tuple(grid.defenses[str(number)]) for number in range(1, 17)] == TABLE_2
    # one filter, so that its predictions are shared
    squeezing = grid.baseline_detectors["squeezing by a median filter"]()
    assert squeezing.reformer is grid.reformers["median filter"]
    assert list(grid.detectors)[:8] == [name for name, _, _ in TABLE_1] == list(PAPER_AUC)
    with torch.device("meta"):
        for name, kind, domain in TABLE_1:
            part = grid.detectors[name]
            network = part.network()
            assert kind is None or isinstance(network, kind)
            assert (part.domain, part.part, part.scaling, part.p, part.wrap, part.group) == (
                *(domain, "magnitude", "per_frequency", 2.0, None, "paper"),
            )
        assert isinstance(grid.targets["SegNet"].network(), SegNet)
    assert all(isinstance(make(), Detector) for make in grid.baseline_detectors.values())


@pytest.mark.parametrize("name", PAPERS)
def test_the_pooled_attacks_are_dag_by_the_settings_of_its_authors_on_structures_alone(parse, name):
    attacks = parse(name).get_parsed_content("defense_study").grid.attacks
    pooled = {name: part for name, part in attacks.items() if part.pooled}
    assert list(pooled) == ["DAG A", "DAG B", "DAG C"]
    for part, target in zip(pooled.values(), ("background", "exchange", "dilate")):
        attack = part.attack
        assert isinstance(attack, DAG)
        assert (attack.target, attack.step, attack.norm, attack.max_steps) == (target, 0.5, "l2", 20)
        assert not attack.attack_background
        assert part.every == 1
    assert 255 * attacks["PGD 4/255"].attack.epsilon == pytest.approx(4)


@pytest.mark.parametrize("name", PAPERS)
def test_settings_are_changed_from_outside(parse, name):
    only = {"targets": ["UNet", "SegNet"], "attacks": ["DAG A"], "baseline_defenses": []}
    changes = {"seeds": 1, "slices_per_volume": 30, "only": only, "seed": 7, "xie_every": 2}
    study = parse(name, **changes).get_parsed_content("defense_study")
    assert study.networks.trained_detectors() == [(name, 0) for name in study.grid.detectors]
    assert (study.data.slices_per_volume, study.settings.seed) == (30, 7)
    assert list(study.grid.every_target) == ["UNet", "SegNet", "UNet, adversarially trained", "UNet, distilled"]
    assert (list(study.grid.attacks), list(study.grid.baseline_defenses)) == (["DAG A"], [])


def test_networks_have_the_size_of_the_paper(parse):
    found = sizes(parse("paper").get_parsed_content("defense_study"))
    assert found["UNet"] == pytest.approx(31.0e6, rel=0.01)
    assert found["SegNet"] == pytest.approx(29.5e6, rel=0.01)
    assert found["DenseNet"] == pytest.approx(9.3e6, rel=0.01)
    assert found["UNet spatial"] == found["UNet shifted"] == pytest.approx(31.0e6, rel=0.01)
    assert found["DenseNet spatial"] == pytest.approx(9.3e6, rel=0.01)
    assert (found["AE I"], found["AE II"]) == (310, 142)


def test_compact_networks_are_compact(parse):
    found = sizes(parse("paper_compact").get_parsed_content("defense_study"))
    assert all(found[name] <= 0.6e6 for name in ("UNet", "SegNet", "DenseNet"))
    assert (found["AE I"], found["AE II"]) == (310, 142)


@pytest.mark.parametrize("name", ["paper", "paper_compact"])
def test_the_wide_autoencoder_has_the_size_of_the_unet(parse, name):
    study = parse(name).get_parsed_content("defense_study")
    found = sizes(study)
    assert found["AE I, UNet's size"] == pytest.approx(found["UNet spatial"], rel=0.02)
    # and is trained for longer, with as much at a step
    wide, unet = (study.grid.detectors[name].training for name in ("AE I, UNet's size", "UNet spatial"))
    assert wide.epochs / wide.batch_size > unet.epochs / unet.batch_size
    assert (wide.every, wide.weight_decay, wide.learning_rate) == (unet.every, unet.weight_decay, unet.learning_rate)


@pytest.mark.parametrize("name", ["paper", "paper_compact"])
def test_a_shorter_training_is_all_that_its_detectors_differ_in(parse, name):
    detectors = parse(name).get_parsed_content("defense_study").grid.detectors
    short = {name: part for name, part in detectors.items() if part.group == "length"}
    assert len(short) == 4
    for title, part in short.items():
        long = detectors[title.partition(",")[0]]
        share = {"a fifth of the steps": 1 / 5, "a third of the steps": 1 / 3}[title.partition(", ")[2]]
        assert part.training.steps(2031) == pytest.approx(share * long.training.steps(2031), rel=0.06)
        same = {"training": long.training, "seeds": long.seeds, "group": long.group}
        assert repr(replace(part, **same).learned()) == repr(long.learned())
        assert replace(part.training, epochs=1, batch_size=1) == replace(long.training, epochs=1, batch_size=1)


@pytest.mark.parametrize("name", PAPERS)
def test_layouts_are_those_of_the_image_size(parse, name):
    config = parse(name)
    detectors = config.get_parsed_content("defense_study").grid.detectors
    size = config["spatial_size"]
    assert all(length % 32 == 0 for length in size)  # half of it a multiple of the strides of a UNet
    off = detectors["zero frequency a quarter off the center"].wrap(torch.nn.AvgPool2d(3, 1, 1))
    image = torch.rand(1, 1, *size)
    assert torch.equal(off(image), RolledNetwork(torch.nn.AvgPool2d(3, 1, 1), [n // 4 for n in size])(image))
    padded = detectors["shifted, circular padding"].wrap(torch.nn.Conv2d(1, 1, 3, padding=1))
    assert padded.padding_mode == "circular"
